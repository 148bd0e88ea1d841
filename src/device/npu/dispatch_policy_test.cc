// How steps are cut into buckets: always the cheapest cut, and what that saves over padding, in virtual time.
#include "device/npu/dispatch_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>

#include "device/npu/compiler/static_graph.h"
#include "device/npu/llm_prediction.h"

namespace lem {
namespace {

int64_t RowsOf(const std::vector<NpuChunk>& chunks) {
  return std::accumulate(chunks.begin(), chunks.end(), int64_t{0},
                         [](int64_t sum, const NpuChunk& chunk) { return sum + chunk.rows; });
}

TEST(NpuDispatchPolicyTest, PadsWhereThatIsCheaperThanMoreRuns) {
  const int64_t buckets[] = {1, 4, 16};
  const double flat[] = {1.0, 1.1, 1.2};
  EXPECT_THAT(CutIntoBuckets(5, {buckets, flat, 0.0}), testing::ElementsAre(NpuChunk{16, 5}));
  EXPECT_THAT(CutIntoBuckets(18, {buckets, flat, 0.0}), testing::ElementsAre(NpuChunk{16, 16}, NpuChunk{4, 2}));
  const double steep[] = {1.0, 4.0, 16.0};
  EXPECT_EQ(RowsOf(CutIntoBuckets(7, {buckets, steep, 0.0})), 7);
  EXPECT_NEAR(SecondsOf(CutIntoBuckets(7, {buckets, steep, 0.0}), {buckets, steep, 0.0}), 7.0, 1e-12);
  // A switch that costs more than the padding it saves is not made.
  const double high[] = {8.0, 10.0, 16.0};
  EXPECT_THAT(CutIntoBuckets(17, {buckets, high, 20.0}), testing::ElementsAre(NpuChunk{16, 16}, NpuChunk{16, 1}));
  EXPECT_TRUE(CutIntoBuckets(0, {buckets, steep, 1.0}).empty());
}

// Every cut of a small step, tried one by one.
double BestByTrying(int64_t rows, const NpuBucketCosts& costs, size_t from, bool loaded) {
  if (rows <= 0) return 0;
  double best = std::numeric_limits<double>::infinity();
  for (size_t b = 0; b <= from; ++b) {
    const double enter = b == from && loaded ? 0.0 : costs.switch_s;
    best = std::min(best, enter + costs.seconds[b] + BestByTrying(rows - costs.buckets[b], costs, b, true));
  }
  return best;
}

TEST(NpuDispatchPolicyTest, NoCutIsCheaper) {
  const int64_t buckets[] = {1, 4, 8};
  for (const double switch_s : {0.0, 0.3, 2.0}) {
    for (const auto& seconds : {std::array{1.0, 1.5, 2.5}, std::array{1.0, 3.9, 7.0}, std::array{2.0, 2.1, 9.0}}) {
      const NpuBucketCosts costs{buckets, seconds, switch_s};
      for (int64_t rows = 1; rows <= 26; ++rows) {
        const std::vector<NpuChunk> chunks = CutIntoBuckets(rows, costs);
        EXPECT_EQ(RowsOf(chunks), rows);
        EXPECT_NEAR(SecondsOf(chunks, costs), BestByTrying(rows, costs, 2, false), 1e-9) << rows;
        for (size_t i = 1; i < chunks.size(); ++i) EXPECT_LE(chunks[i].bucket, chunks[i - 1].bucket);
      }
    }
  }
}

// Prompts of 1 to 2,000 tokens of a 1B model, in virtual time: the cost rises in steps; it is never above padding the
// remainder to the next bucket, and on average a third below padding everything to the largest.
TEST(NpuDispatchPolicyTest, BeatsAlwaysPaddingByAThird) {
  const NpuGeneration& generation = **FindNpuGeneration("xdna2");
  const Graph graph = *GraphOfPublishedModel("Llama-3.2-1B");
  const Segment all{0, static_cast<int32_t>(graph.ops.size())};
  // A 4-bit file: what most people run.
  const std::vector<DType> types(graph.weights.size(), DType::kQ4_K);
  const StaticGraphOptions options{.weight_types = types};
  std::vector<StaticGraph> graphs;
  for (const int64_t bucket : kNpuTokenBuckets) {
    Result<StaticGraph> planned = PlanStaticGraph(generation, graph, all, bucket, 0, options);
    ASSERT_TRUE(planned.ok()) << planned.status().ToString();
    graphs.push_back(std::move(*planned));
  }
  // The head runs once for a prompt, whatever the cut.
  const double head_s = PlanStaticGraph(generation, graph, all, 1, 1, options)->Cost(generation, {}).seconds -
                        graphs[0].Cost(generation, {}).seconds;
  const int64_t largest = kNpuTokenBuckets[std::size(kNpuTokenBuckets) - 1];
  double ratio_largest = 0, ratio_next = 0, before = 0, before_context = 0;
  int steps = 0;
  for (int64_t rows = 1; rows <= 2000; ++rows) {
    std::vector<double> seconds;
    for (const StaticGraph& planned : graphs) {
      const StaticGraph::Load load{planned.tokens, rows};
      seconds.push_back(planned.Cost(generation, {&load, 1}).seconds + generation.dispatch_s);
    }
    const NpuBucketCosts costs{kNpuTokenBuckets, seconds, generation.descriptor_reprogram_s};
    const double cut = head_s + SecondsOf(CutIntoBuckets(rows, costs), costs);
    const int64_t whole = (rows + largest - 1) / largest;
    const std::vector<NpuChunk> padded(static_cast<size_t>(whole), {largest, largest});
    const int64_t rest = rows - (whole - 1) * largest;
    std::vector<NpuChunk> next(static_cast<size_t>(whole - 1), {largest, largest});
    next.push_back({NpuTokenBucket(rest), rest});
    ASSERT_LE(cut, (head_s + SecondsOf(next, costs)) * (1 + 1e-9)) << rows;
    const auto context = static_cast<double>(NpuContextBucket(rows));
    if (context == before_context) ASSERT_GE(cut, before * (1 - 1e-9)) << "more rows cost less at " << rows;
    steps += cut > before * (1 + 1e-9) ? 1 : 0;
    before = cut;
    before_context = context;
    ratio_largest += (head_s + SecondsOf(padded, costs)) / cut / 2000;
    ratio_next += (head_s + SecondsOf(next, costs)) / cut / 2000;
    if (rows == 1) {
      for (size_t i = 0; i < seconds.size(); ++i) {
        std::printf("bucket %3ld: %.2f ms\n", static_cast<long>(kNpuTokenBuckets[i]), seconds[i] * 1e3);
      }
    }
  }
  std::printf(
      "prompts of 1..2000 tokens (virtual time): %d steps of cost; always padding to %ld costs %.2fx, padding the "
      "remainder to the next bucket %.2fx\n",
      steps, static_cast<long>(largest), ratio_largest, ratio_next);
  EXPECT_LT(steps, 400);
  EXPECT_GE(ratio_largest, 1.3);
}

}  // namespace
}  // namespace lem
