#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace lem {
namespace {

const ModelCapacity kRoom{.free_blocks = 10, .max_step_tokens = 8, .max_step_outputs = 4, .max_running = 3};

SequenceDemand Demand(SequenceId id, int64_t prompt, int64_t blocks, int32_t model = 0) {
  return {.id = id, .model = model, .prompt_tokens = prompt, .max_blocks = blocks};
}

Decision AdmitAndNext(Scheduler& scheduler, const std::vector<ModelCapacity>& capacity) {
  scheduler.Admit(capacity);
  return scheduler.Next(capacity);
}

TEST(SchedulerTest, AdmitsInOrderWhileBlocksLast) {
  Scheduler scheduler(1);
  scheduler.Enqueue(Demand(1, 4, 6));
  scheduler.Enqueue(Demand(2, 4, 6));  // does not fit beside 1
  scheduler.Enqueue(Demand(3, 4, 1));  // would fit, but may not overtake
  EXPECT_EQ(scheduler.Admit({kRoom}), std::vector<SequenceId>{1});
  EXPECT_EQ(scheduler.PositionOf(3), 1);
  scheduler.Remove(1);
  EXPECT_EQ(scheduler.Admit({kRoom}), (std::vector<SequenceId>{2, 3}));
}

TEST(SchedulerTest, MixesDecodesWithPromptChunks) {
  Scheduler scheduler(1);
  scheduler.Enqueue(Demand(1, 5, 1));
  scheduler.Enqueue(Demand(2, 20, 2));
  Decision step = AdmitAndNext(scheduler, {kRoom});
  ASSERT_EQ(step.rows.size(), 2u);
  EXPECT_EQ(step.rows[0].num_tokens, 5);
  EXPECT_EQ(step.rows[1].num_tokens, 3);
  scheduler.StepDone(step.rows);
  step = AdmitAndNext(scheduler, {kRoom});
  EXPECT_EQ(step.rows[0].id, 1u);  // decodes now
  EXPECT_EQ(step.rows[0].num_tokens, 1);
  EXPECT_EQ(step.rows[1].num_tokens, 7);
}

TEST(SchedulerTest, TokensThatAreKnownAreSkipped) {
  Scheduler scheduler(1);
  scheduler.Enqueue(Demand(1, 20, 2));
  EXPECT_EQ(scheduler.Admit({kRoom}), std::vector<SequenceId>{1});
  scheduler.Skip(1, 16);
  const Decision step = scheduler.Next({kRoom});
  EXPECT_EQ(step.rows[0].num_tokens, 4);
  scheduler.StepDone(step.rows);
  EXPECT_EQ(scheduler.Next({kRoom}).rows[0].num_tokens, 1) << "it decodes";
}

TEST(SchedulerTest, LimitsRowsWithLogits) {
  Scheduler scheduler(1);
  SequenceDemand demand = Demand(1, 20, 2);
  demand.outputs_every_row = true;
  scheduler.Enqueue(demand);
  EXPECT_EQ(AdmitAndNext(scheduler, {kRoom}).rows[0].num_tokens, 4);
}

TEST(SchedulerTest, ModelsTakeTurns) {
  Scheduler scheduler(2);
  scheduler.Enqueue(Demand(1, 1, 1, 0));
  scheduler.Enqueue(Demand(2, 1, 1, 1));
  EXPECT_EQ(AdmitAndNext(scheduler, {kRoom, kRoom}).model, 0);
  EXPECT_EQ(AdmitAndNext(scheduler, {kRoom, kRoom}).model, 1);
  EXPECT_EQ(AdmitAndNext(scheduler, {kRoom, kRoom}).model, 0);
  scheduler.Remove(1);
  scheduler.Remove(2);
  EXPECT_EQ(AdmitAndNext(scheduler, {kRoom, kRoom}).model, -1);
}

// Whatever arrives: blocks are never over-committed, step limits hold, and everybody finishes.
TEST(SchedulerTest, RandomLoadIsServedWithinLimits) {
  std::mt19937 random(7);
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (int round = 0; round < 50; ++round) {
    Scheduler scheduler(2);
    struct State {
      int32_t model;
      int64_t tokens_left, blocks;
    };
    std::map<SequenceId, State> sequences;
    std::vector<int64_t> free_blocks{10, 10};
    SequenceId next_id = 1;
    for (int step = 0; step < 2000; ++step) {
      if (next_id <= 40 && pick(0, 3) == 0) {
        SequenceDemand demand = Demand(next_id, pick(1, 30), pick(1, 10), static_cast<int32_t>(pick(0, 1)));
        demand.outputs_every_row = pick(0, 4) == 0;
        sequences[next_id++] = {demand.model, demand.prompt_tokens + pick(0, 9), demand.max_blocks};
        scheduler.Enqueue(demand);
      }
      std::vector<ModelCapacity> capacity{kRoom, kRoom};
      capacity[0].free_blocks = free_blocks[0];
      capacity[1].free_blocks = free_blocks[1];
      for (const SequenceId id : scheduler.Admit(capacity)) {
        free_blocks[static_cast<size_t>(sequences[id].model)] -= sequences[id].blocks;
      }
      ASSERT_GE(free_blocks[0], 0);
      ASSERT_GE(free_blocks[1], 0);
      const Decision decision = scheduler.Next(capacity);
      int64_t tokens = 0;
      std::set<SequenceId> seen;
      for (const StepRows& row : decision.rows) {
        ASSERT_EQ(sequences[row.id].model, decision.model);
        ASSERT_GT(row.num_tokens, 0);
        ASSERT_TRUE(seen.insert(row.id).second);
        tokens += row.num_tokens;
      }
      ASSERT_LE(tokens, kRoom.max_step_tokens);
      scheduler.StepDone(decision.rows);
      for (const StepRows& row : decision.rows) {
        State& state = sequences[row.id];
        state.tokens_left -= row.num_tokens;
        if (state.tokens_left > 0) continue;
        free_blocks[static_cast<size_t>(state.model)] += state.blocks;
        scheduler.Remove(row.id);
        sequences.erase(row.id);
      }
      if (sequences.empty() && next_id > 40) break;
    }
    EXPECT_TRUE(sequences.empty()) << "round " << round;
    EXPECT_EQ(scheduler.num_waiting() + scheduler.num_running(), 0);
  }
}

}  // namespace
}  // namespace lem
