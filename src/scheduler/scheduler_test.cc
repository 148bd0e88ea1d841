#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace lem {
namespace {

const ModelCapacity kRoom{
    .free_blocks = 10, .block_tokens = 4, .max_step_tokens = 8, .max_step_outputs = 4, .max_running = 3};
constexpr SchedulerOptions kGuarantee{.policy = AdmissionPolicy::kGuarantee};

SequenceDemand Demand(SequenceId id, int64_t prompt, int64_t blocks, int32_t model = 0) {
  return {.id = id, .model = model, .prompt_tokens = prompt, .max_blocks = blocks};
}

Decision AdmitAndNext(Scheduler& scheduler, const std::vector<ModelCapacity>& capacity, Seconds now = 0) {
  scheduler.Admit(capacity, now);
  return scheduler.Next(capacity, now);
}

void Done(Scheduler& scheduler, const Decision& step, Seconds took = 0.01) {
  scheduler.StepDone(step.model, step.rows, took);
}

TEST(SchedulerTest, AdmitsInOrderWhileBlocksLast) {
  Scheduler scheduler(1, kGuarantee);
  scheduler.Enqueue(Demand(1, 4, 6));
  scheduler.Enqueue(Demand(2, 4, 6));  // does not fit beside 1
  scheduler.Enqueue(Demand(3, 4, 1));  // would fit, but may not overtake
  EXPECT_EQ(scheduler.Admit({kRoom}, 0).admitted, std::vector<SequenceId>{1});
  EXPECT_EQ(scheduler.PositionOf(3, 0), 1);
  EXPECT_TRUE(scheduler.LoadOf(0).is_full);
  scheduler.Remove(1, 1);
  EXPECT_EQ(scheduler.Admit({kRoom}, 1).admitted, (std::vector<SequenceId>{2, 3}));
}

TEST(SchedulerTest, AGuaranteeKeepsWhatIsNotUsedYet) {
  Scheduler scheduler(1, kGuarantee);
  scheduler.Enqueue(Demand(1, 4, 8));
  EXPECT_EQ(scheduler.Admit({kRoom}, 0).admitted.size(), 1u);
  scheduler.Enqueue(Demand(2, 4, 3));
  EXPECT_TRUE(scheduler.Admit({kRoom}, 0).admitted.empty()) << "ten blocks are free, eight are promised";
}

TEST(SchedulerTest, MaximisingAdmitsWhatHasRoomNow) {
  Scheduler scheduler(1);
  scheduler.Enqueue(Demand(1, 4, 8));
  scheduler.Enqueue(Demand(2, 4, 8));
  EXPECT_EQ(scheduler.Admit({kRoom}, 0).admitted.size(), 2u);
}

TEST(SchedulerTest, MixesDecodesWithPromptChunks) {
  Scheduler scheduler(1);
  SequenceDemand batch = Demand(1, 5, 4);
  batch.priority = Priority::kBatch;  // nobody waits for its tokens
  scheduler.Enqueue(batch);
  Decision step = AdmitAndNext(scheduler, {kRoom});
  Done(scheduler, step);
  scheduler.Enqueue(Demand(2, 20, 5));
  step = AdmitAndNext(scheduler, {kRoom});
  ASSERT_EQ(step.rows.size(), 2u);
  EXPECT_EQ(step.rows[0].id, 1u);  // decodes now
  EXPECT_EQ(step.rows[0].num_tokens, 1);
  EXPECT_EQ(step.rows[1].num_tokens, 7);
}

TEST(SchedulerTest, TokensThatAreKnownAreSkipped) {
  Scheduler scheduler(1);
  scheduler.Enqueue(Demand(1, 20, 6));
  EXPECT_EQ(scheduler.Admit({kRoom}, 0).admitted, std::vector<SequenceId>{1});
  scheduler.Skip(1, 16);
  const Decision step = scheduler.Next({kRoom}, 0);
  EXPECT_EQ(step.rows[0].num_tokens, 4);
  Done(scheduler, step);
  EXPECT_EQ(scheduler.Next({kRoom}, 0).rows[0].num_tokens, 1) << "it decodes";
}

TEST(SchedulerTest, LimitsRowsWithLogits) {
  Scheduler scheduler(1);
  SequenceDemand demand = Demand(1, 20, 6);
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
  scheduler.Remove(1, 0);
  scheduler.Remove(2, 0);
  EXPECT_EQ(AdmitAndNext(scheduler, {kRoom, kRoom}).model, -1);
}

TEST(SchedulerTest, InteractiveComesFirstAndAgeingLiftsOthers) {
  Scheduler scheduler(1, {.ageing_s = 10});
  SequenceDemand background = Demand(1, 4, 3);
  background.priority = Priority::kBackground;
  scheduler.Enqueue(background);
  SequenceDemand late = Demand(2, 4, 3);
  late.arrival = 15;
  scheduler.Enqueue(late);
  EXPECT_EQ(scheduler.PositionOf(1, 15), 1);
  EXPECT_EQ(scheduler.PositionOf(1, 21), 0) << "two classes up, and it was due long ago";
}

TEST(SchedulerTest, WhoIsDueFirstComesFirst) {
  Scheduler scheduler(1);
  SequenceDemand patient = Demand(1, 4, 3), hurried = Demand(2, 4, 3), dying = Demand(3, 4, 3);
  patient.ttft_target = 5;
  hurried.ttft_target = 0.1;
  dying.deadline = 0.05;
  for (const SequenceDemand& demand : {patient, hurried, dying}) scheduler.Enqueue(demand);
  EXPECT_EQ(scheduler.Admit({kRoom}, 0).admitted, (std::vector<SequenceId>{3, 2, 1}));
  const Decision step = scheduler.Next({kRoom}, 0);
  EXPECT_EQ(step.rows.front().id, 3u);
}

TEST(SchedulerTest, AShortPromptOvertakesALongOne) {
  Scheduler scheduler(1);
  ModelCapacity room = kRoom;
  room.free_blocks = 10000;
  scheduler.Enqueue(Demand(1, 8000, 2001));
  Decision step = AdmitAndNext(scheduler, {room});
  EXPECT_EQ(step.rows[0].id, 1u);
  Done(scheduler, step);
  SequenceDemand brief = Demand(2, 4, 2);
  brief.arrival = 1;
  scheduler.Enqueue(brief);
  EXPECT_EQ(AdmitAndNext(scheduler, {room}, 1).rows[0].id, 2u);
}

TEST(SchedulerTest, TenantsGetAlike) {
  Scheduler scheduler(1);
  ModelCapacity room = kRoom;
  room.max_running = 1;
  SequenceId id = 1;
  for (int i = 0; i < 20; ++i) {
    SequenceDemand demand = Demand(id++, 8, 3);
    demand.tenant = "greedy";
    scheduler.Enqueue(demand);
  }
  for (int i = 0; i < 5; ++i) {
    SequenceDemand demand = Demand(id++, 8, 3);
    demand.tenant = "modest";
    scheduler.Enqueue(demand);
  }
  int modest = 0;
  for (int i = 0; i < 10; ++i) {
    const SequenceId first = scheduler.Admit({room}, 0).admitted.at(0);
    modest += first > 20;
    Done(scheduler, scheduler.Next({room}, 0));
    scheduler.Remove(first, 0);
  }
  EXPECT_EQ(modest, 5) << "every second one, though fifteen others had come before";
}

TEST(SchedulerTest, WhoFollowsWaitsForThePromptItShares) {
  Scheduler scheduler(1);
  SequenceDemand follower = Demand(2, 12, 4);
  follower.follows = 1;
  scheduler.Enqueue(Demand(1, 12, 4));
  scheduler.Enqueue(follower);
  EXPECT_EQ(scheduler.Admit({kRoom}, 0).admitted, std::vector<SequenceId>{1});
  Done(scheduler, scheduler.Next({kRoom}, 0));
  EXPECT_TRUE(scheduler.Admit({kRoom}, 0).admitted.empty());
  Done(scheduler, scheduler.Next({kRoom}, 0));
  EXPECT_EQ(scheduler.Admit({kRoom}, 0).admitted, std::vector<SequenceId>{2}) << "1 decodes";
  SequenceDemand orphan = Demand(4, 4, 2);
  orphan.follows = 3;
  scheduler.Enqueue(Demand(3, 4, 2));
  scheduler.Enqueue(orphan);
  scheduler.Remove(3, 0);
  EXPECT_EQ(scheduler.Admit({kRoom}, 0).admitted, std::vector<SequenceId>{4}) << "3 has gone";
}

TEST(SchedulerTest, TheUrgentTakesThePlaceOfTheLeastUrgent) {
  for (const AdmissionPolicy policy : {AdmissionPolicy::kMaximise, AdmissionPolicy::kGuarantee}) {
    Scheduler scheduler(1, {.policy = policy});
    for (SequenceId id = 1; id <= 3; ++id) {
      SequenceDemand demand = Demand(id, 4, 3);
      demand.priority = id == 2 ? Priority::kBackground : Priority::kBatch;
      scheduler.Enqueue(demand);
    }
    EXPECT_EQ(scheduler.Admit({kRoom}, 0).admitted.size(), 3u);
    scheduler.Enqueue(Demand(4, 4, 3));
    const Admission admission = scheduler.Admit({kRoom}, 0);
    EXPECT_TRUE(admission.admitted.empty());
    if (policy == AdmissionPolicy::kGuarantee) {
      EXPECT_FALSE(admission.give_way) << "a guarantee is one";
      continue;
    }
    EXPECT_EQ(admission.give_way, 2u);
    scheduler.Requeue(2, 4);
    EXPECT_EQ(scheduler.Admit({kRoom}, 0).admitted, std::vector<SequenceId>{4});
  }
}

TEST(SchedulerTest, PromptsBesideAnswersKeepTheTimeBetweenTokens) {
  Scheduler scheduler(1, {.itl_factor = 2});
  ModelCapacity room{.free_blocks = 10000, .max_step_tokens = 256, .max_step_outputs = 64, .max_running = 64};
  // A machine that needs 10 ms for a step of answers, and 0.2 to 1 ms for each row of a prompt beside them.
  double row_s = 0.0002;
  const auto run = [&](const Decision& step) {
    Seconds took = 0;
    bool answers = false;
    for (const StepRows& row : step.rows) {
      if (row.id == 1 && row.num_tokens == 1) {
        answers = true;
      } else {
        took += row_s * static_cast<double>(row.num_tokens);
      }
    }
    took += answers ? 0.010 : 0;
    scheduler.StepDone(step.model, step.rows, took);
    return took;
  };
  scheduler.Enqueue(Demand(1, 4, 600));
  run(AdmitAndNext(scheduler, {room}));
  scheduler.Enqueue(Demand(2, 8000, 501));
  int too_long = 0, prompt_rows = 0;
  for (int i = 0; i < 400; ++i) {
    row_s = 0.0002 + 0.0002 * i / 100;  // the context grows
    const Decision step = AdmitAndNext(scheduler, {room});
    for (const StepRows& row : step.rows) prompt_rows += row.id == 2 ? static_cast<int>(row.num_tokens) : 0;
    if (run(step) > 0.0215) ++too_long;
  }
  EXPECT_LE(too_long, 3);
  EXPECT_GE(prompt_rows, 2000);
}

TEST(SchedulerTest, WhoComesDuringABackgroundPromptDoesNotWaitForIt) {
  Scheduler scheduler(1, {.patient_step_s = 0.1, .min_patient_rows = 64});
  const ModelCapacity room{.free_blocks = 10000, .max_step_tokens = 256, .max_step_outputs = 64, .max_running = 64};
  SequenceDemand background = Demand(1, 8000, 600);
  background.priority = Priority::kBackground;
  scheduler.Enqueue(background);
  Decision step;
  for (int i = 0; i < 40; ++i) {
    step = AdmitAndNext(scheduler, {room});
    Done(scheduler, step, 0.001 * static_cast<double>(step.rows.at(0).num_tokens));
  }
  EXPECT_NEAR(static_cast<double>(step.rows[0].num_tokens), 100, 2);
  for (int i = 0; i < 40; ++i) {
    step = AdmitAndNext(scheduler, {room});
    Done(scheduler, step, 0.01 * static_cast<double>(step.rows.at(0).num_tokens));
  }
  EXPECT_EQ(step.rows[0].num_tokens, 64);
  scheduler.Enqueue(Demand(2, 40, 4));
  step = AdmitAndNext(scheduler, {room});
  ASSERT_EQ(step.rows.size(), 1u) << "the other prompt would only hold it up";
  EXPECT_EQ(step.rows[0].id, 2u);
  EXPECT_EQ(step.rows[0].num_tokens, 40);
  step = scheduler.Next({room}, 2);
  ASSERT_EQ(step.rows.size(), 2u) << "it has stood still for longer than a second";
  EXPECT_EQ(step.rows[1].num_tokens, 128);
  EXPECT_EQ(scheduler.Next({room}, 2.5).rows.size(), 1u);
  Done(scheduler, step);
  scheduler.Remove(2, 1);
  EXPECT_EQ(AdmitAndNext(scheduler, {room}).rows.at(0).id, 1u);
}

// Answers that get several tokens a step (guessed or forced ones) do not keep prompts waiting.
TEST(SchedulerTest, AnswersThatRunAheadDoNotHoldUpPrompts) {
  Scheduler scheduler(1);
  ModelCapacity room{.free_blocks = 10000, .max_step_tokens = 256, .max_step_outputs = 64, .max_running = 64};
  scheduler.Enqueue(Demand(1, 4, 600));
  Done(scheduler, AdmitAndNext(scheduler, {room}));
  scheduler.Enqueue(Demand(2, 200, 60));
  int64_t prompt_rows = 0;
  for (int i = 0; i < 100; ++i) {
    Decision step = AdmitAndNext(scheduler, {room});
    for (StepRows& row : step.rows) {
      if (row.id == 2) {
        prompt_rows += row.num_tokens;
      } else {
        row.num_tokens = 5;
      }
    }
    Done(scheduler, step);
    if (prompt_rows >= 200) return;
  }
  FAIL() << prompt_rows << " of 200 rows in 100 steps";
}

TEST(SchedulerTest, EstimatesGrowWithWhatIsAhead) {
  ModelLoad load;
  load.prompt_row_s = 0.001;
  EXPECT_NEAR(EstimateTtft(load, Priority::kInteractive, 100), 0.1, 1e-9);
  load.classes[1].prompt_tokens = 1000;  // of the batch class
  EXPECT_NEAR(EstimateTtft(load, Priority::kInteractive, 100), 0.1, 1e-9);
  EXPECT_NEAR(EstimateTtft(load, Priority::kBatch, 100), 1.1, 1e-9);
  load.running = load.decoding = 4;
  load.is_full = true;
  load.residence_s = 8;
  load.classes[0].waiting = 3;
  EXPECT_NEAR(EstimateTtft(load, Priority::kInteractive, 100), 8, 1e-9);
}

// A machine in virtual time: blocks as an engine would hold them, steps that take as long as their rows.
class World {
 public:
  World(SchedulerOptions options, unsigned seed) : scheduler_(2, options), options_(options), random_(seed) {}

  int64_t Pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }

  void Arrive() {
    const SequenceId id = next_id_++;
    Sequence s;
    s.demand = Demand(id, Pick(1, 40), 0, static_cast<int32_t>(Pick(0, 1)));
    s.answer = Pick(1, 20);
    s.demand.max_blocks = (s.demand.prompt_tokens + s.answer + 3) / 4;
    s.demand.outputs_every_row = Pick(0, 4) == 0;
    s.demand.priority = static_cast<Priority>(Pick(0, 2));
    s.demand.tenant = std::string(1, static_cast<char>('a' + Pick(0, 2)));
    s.demand.arrival = now_;
    if (Pick(0, 3) == 0 && id > 1) s.demand.follows = id - 1;
    s.known = s.demand.prompt_tokens;
    scheduler_.Enqueue(s.demand);
    sequences_[id] = s;
  }

  void CancelOne() {
    if (sequences_.empty()) return;
    auto it = sequences_.begin();
    std::advance(it, Pick(0, static_cast<int64_t>(sequences_.size()) - 1));
    scheduler_.Remove(it->first, now_);
    sequences_.erase(it);
  }

  std::vector<ModelCapacity> Capacities() const {
    std::vector<ModelCapacity> capacity(2, kRoom);
    for (auto& room : capacity) room.free_blocks = kBlocks;
    for (const auto& [id, s] : sequences_) capacity[static_cast<size_t>(s.demand.model)].free_blocks -= s.blocks();
    return capacity;
  }

  void GiveWay(SequenceId id) {
    EXPECT_EQ(options_.policy, AdmissionPolicy::kMaximise);
    Sequence& s = sequences_.at(id);
    EXPECT_TRUE(s.running);
    s.running = false;
    s.computed = 0;
    ++num_gave_way_;
    scheduler_.Requeue(id, s.known);
  }

  // False when nothing could run.
  bool Step() {
    for (;;) {
      const Admission admission = scheduler_.Admit(Capacities(), now_);
      for (const SequenceId id : admission.admitted) {
        Sequence& s = sequences_.at(id);
        EXPECT_FALSE(s.running);
        s.running = true;
        if (s.started < 0) s.started = now_;
      }
      if (!admission.give_way) break;
      GiveWay(*admission.give_way);
    }
    Decision decision = scheduler_.Next(Capacities(), now_);
    while (decision.give_way) {
      GiveWay(*decision.give_way);
      decision = scheduler_.Next(Capacities(), now_);
    }
    if (decision.model < 0) return false;
    EXPECT_FALSE(decision.rows.empty());
    Check(decision);
    Seconds took = 0.001;
    for (const StepRows& row : decision.rows) took += 0.001 * static_cast<double>(row.num_tokens);
    now_ += took;
    scheduler_.StepDone(decision.model, decision.rows, took);
    for (const StepRows& row : decision.rows) {
      Sequence& s = sequences_.at(row.id);
      s.computed += row.num_tokens;
      EXPECT_LE(s.computed, s.known);
      if (s.computed == s.known) ++s.known;
      if (s.known <= s.demand.prompt_tokens + s.answer) continue;
      longest_wait_ = std::max(longest_wait_, s.started - s.demand.arrival);
      scheduler_.Remove(row.id, now_);
      sequences_.erase(row.id);
    }
    for (const ModelCapacity& room : Capacities()) EXPECT_GE(room.free_blocks, 0) << "more blocks than there are";
    return true;
  }

  bool empty() const { return sequences_.empty(); }
  Scheduler& scheduler() { return scheduler_; }
  int num_gave_way() const { return num_gave_way_; }
  Seconds longest_wait() const { return longest_wait_; }
  Seconds now() const { return now_; }

  static constexpr int64_t kBlocks = 20;

 private:
  struct Sequence {
    SequenceDemand demand;
    int64_t answer = 0, known = 0, computed = 0;
    bool running = false;
    Seconds started = -1;
    int64_t blocks() const { return (computed + 3) / 4; }
  };

  void Check(const Decision& decision) {
    int64_t tokens = 0, outputs = 0;
    std::set<SequenceId> seen;
    for (const StepRows& row : decision.rows) {
      const Sequence& s = sequences_.at(row.id);
      EXPECT_EQ(s.demand.model, decision.model);
      EXPECT_TRUE(s.running);
      EXPECT_GT(row.num_tokens, 0);
      EXPECT_TRUE(seen.insert(row.id).second);
      tokens += row.num_tokens;
      outputs += s.demand.outputs_every_row && s.computed < s.demand.prompt_tokens ? row.num_tokens : 1;
    }
    EXPECT_LE(tokens, kRoom.max_step_tokens);
    EXPECT_LE(outputs, kRoom.max_step_outputs);
  }

  Scheduler scheduler_;
  const SchedulerOptions options_;
  std::mt19937 random_;
  std::map<SequenceId, Sequence> sequences_;
  SequenceId next_id_ = 1;
  Seconds now_ = 0, longest_wait_ = 0;
  int num_gave_way_ = 0;
};

// Whatever arrives and leaves: blocks are never over-committed, limits hold, and a step is made whenever anybody is
// there.
TEST(SchedulerTest, RandomLoadIsServedWithinLimits) {
  int num_gave_way = 0;
  for (unsigned round = 0; round < 60; ++round) {
    World world({.policy = round % 2 == 0 ? AdmissionPolicy::kMaximise : AdmissionPolicy::kGuarantee, .ageing_s = 1},
                round);
    for (int i = 0; i < 400; ++i) {
      if (world.Pick(0, 3) == 0) world.Arrive();
      if (world.Pick(0, 30) == 0) world.CancelOne();
      const bool idle = world.empty();
      ASSERT_EQ(world.Step(), !idle) << "round " << round << ", step " << i;
    }
    for (int i = 0; i < 20000 && !world.empty(); ++i) ASSERT_TRUE(world.Step());
    EXPECT_TRUE(world.empty()) << "round " << round;
    EXPECT_EQ(world.scheduler().num_waiting() + world.scheduler().num_running(), 0);
    num_gave_way += world.num_gave_way();
  }
  EXPECT_GT(num_gave_way, 20) << "the test should meet it";
}

// However many more urgent ones keep coming.
TEST(SchedulerTest, NobodyStarves) {
  Scheduler scheduler(1, {.ageing_s = 1});
  ModelCapacity room = kRoom;
  room.max_running = 1;
  SequenceDemand background = Demand(1, 4, 2);
  background.priority = Priority::kBackground;
  background.tenant = "patient";
  scheduler.Enqueue(background);
  Seconds now = 0;
  for (SequenceId id = 2; id < 1000; ++id) {
    SequenceDemand demand = Demand(id, 4, 2);
    demand.arrival = now;
    demand.tenant = "busy";
    scheduler.Enqueue(demand);
    const SequenceId first = scheduler.Admit({room}, now).admitted.at(0);
    if (first == 1) {
      EXPECT_LE(now, 3);
      return;
    }
    scheduler.StepDone(0, scheduler.Next({room}, now).rows, 0.01);
    now += 0.01;
    scheduler.Remove(first, now);
  }
  FAIL() << "it never came";
}

}  // namespace
}  // namespace lem
