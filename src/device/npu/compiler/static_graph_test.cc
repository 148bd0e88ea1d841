// Static graphs: fixed shapes, memory that is reused and never shared by two live values, precision by rule.
#include "device/npu/compiler/static_graph.h"

#include <gtest/gtest.h>

#include "device/npu/llm_prediction.h"

namespace lem {
namespace {

class StaticGraphTest : public testing::Test {
 protected:
  StaticGraph Plan(int64_t tokens, int64_t outputs, NpuPrecisionMode mode = NpuPrecisionMode::kMix) {
    Result<StaticGraph> planned = PlanStaticGraph(generation_, graph_, {0, static_cast<int32_t>(graph_.ops.size())},
                                                  tokens, outputs, {.compile = {.mode = mode}});
    EXPECT_TRUE(planned.ok()) << planned.status().ToString();
    return std::move(*planned);
  }
  const NpuGeneration& generation_ = **FindNpuGeneration("xdna2");
  const Graph graph_ = *GraphOfPublishedModel("Llama-3.2-1B");
};

TEST_F(StaticGraphTest, Buckets) {
  EXPECT_EQ(NpuTokenBucket(1), 1);
  EXPECT_EQ(NpuTokenBucket(2), 4);
  EXPECT_EQ(NpuTokenBucket(33), 128);
  EXPECT_EQ(NpuTokenBucket(5000), 512);
  EXPECT_EQ(NpuContextBucket(1), 256);
  EXPECT_EQ(NpuContextBucket(257), 512);
}

TEST_F(StaticGraphTest, LiveValuesNeverShareMemory) {
  const StaticGraph planned = Plan(128, 1);
  std::vector<int32_t> last_use(graph_.values.size(), kNone);
  for (int32_t i = 0; i < static_cast<int32_t>(graph_.ops.size()); ++i) {
    for (const ValueId in : OpInputs(graph_.ops[static_cast<size_t>(i)].body)) last_use[static_cast<size_t>(in)] = i;
  }
  const auto bytes = [](const StaticValue& v) { return static_cast<size_t>(v.rows * v.cols) * sizeof(float); };
  size_t all = 0;
  std::vector<ValueId> live;
  for (int32_t i = 0; i < static_cast<int32_t>(graph_.ops.size()); ++i) {
    std::erase_if(live, [&](ValueId id) { return last_use[static_cast<size_t>(id)] < i; });
    const ValueId out = OpOutput(graph_.ops[static_cast<size_t>(i)].body);
    const StaticValue& placed = planned.values[static_cast<size_t>(out)];
    if (placed.boundary) continue;
    all += bytes(placed);
    ASSERT_LE(placed.offset_bytes + bytes(placed), planned.activation_bytes);
    for (const ValueId id : live) {
      const StaticValue& other = planned.values[static_cast<size_t>(id)];
      ASSERT_TRUE(placed.offset_bytes + bytes(placed) <= other.offset_bytes ||
                  other.offset_bytes + bytes(other) <= placed.offset_bytes)
          << graph_.values[static_cast<size_t>(out)].name << " lies on " << graph_.values[static_cast<size_t>(id)].name;
    }
    live.push_back(out);
  }
  EXPECT_LT(planned.activation_bytes * 10, all);
}

TEST_F(StaticGraphTest, PrecisionByRule) {
  EXPECT_EQ(PrecisionOf({}, DType::kQ4_0), NpuPrecision::kInt4);
  EXPECT_EQ(PrecisionOf({}, DType::kQ4_K), NpuPrecision::kInt4);
  EXPECT_EQ(PrecisionOf({}, DType::kQ6_K), NpuPrecision::kInt8);
  EXPECT_EQ(PrecisionOf({}, DType::kF16), NpuPrecision::kBf16);
  EXPECT_EQ(PrecisionOf({.mode = NpuPrecisionMode::kBf16}, DType::kQ4_0), NpuPrecision::kBf16);
  EXPECT_EQ(Plan(1, 1, NpuPrecisionMode::kInt8).ShareOf(NpuPrecision::kInt8), 1);
  EXPECT_EQ(Plan(1, 1, NpuPrecisionMode::kBf16).ShareOf(NpuPrecision::kBf16), 1);
  std::vector<DType> types(graph_.weights.size(), DType::kQ4_0);
  types.back() = DType::kF16;  // the head
  const auto planned =
      PlanStaticGraph(generation_, graph_, {0, static_cast<int32_t>(graph_.ops.size())}, 1, 1, {.weight_types = types});
  ASSERT_TRUE(planned.ok());
  EXPECT_NEAR(planned->ShareOf(NpuPrecision::kInt4) + planned->ShareOf(NpuPrecision::kBf16), 1, 1e-12);
  EXPECT_NEAR(planned->ShareOf(NpuPrecision::kBf16), 0.21, 0.03);
}

TEST_F(StaticGraphTest, CostRisesWithRowsContextAndNothingElse) {
  const StaticGraph::Load short_context{1, 200}, long_context{1, 30000};
  const StaticGraph decode = Plan(1, 1), prefill = Plan(512, 1), no_head = Plan(512, 0);
  EXPECT_LT(decode.Cost(generation_, {&short_context, 1}).seconds,
            decode.Cost(generation_, {&long_context, 1}).seconds);
  EXPECT_LT(decode.Cost(generation_, {&short_context, 1}).seconds,
            prefill.Cost(generation_, {&short_context, 1}).seconds);
  EXPECT_LT(no_head.Cost(generation_, {}).seconds, prefill.Cost(generation_, {}).seconds);
  // Sixteen requests in one bucket share the weights' way from memory.
  const StaticGraph batch = Plan(16, 16);
  EXPECT_LT(batch.Cost(generation_, {}).seconds, 4 * decode.Cost(generation_, {}).seconds);
}

}  // namespace
}  // namespace lem
