#include "graph/slicer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem {
namespace {

using testing::HasSubstr;

// Two layers of attention and feed-forward over 64 columns, as models/ build them.
Graph TwoLayers() {
  GraphBuilder b("test");
  const WeightSlot table = b.Weight("embed", 100, 64);
  ValueId x = b.Embed(table, 1.0f);
  for (int32_t layer = 0; layer < 2; ++layer) {
    const std::string p = std::to_string(layer);
    b.Enter(Part::kAttention, layer);
    const ValueId h = b.RmsNorm(x, b.Weight(p + "n", 1, 64), 1e-5f);
    const ValueId q = b.Linear(h, b.Weight(p + "q", 128, 64), b.Weight(p + "qb", 1, 128));
    const ValueId k = b.Linear(h, b.Weight(p + "k", 64, 64));
    const ValueId v = b.Linear(h, b.Weight(p + "v", 64, 64));
    const ValueId a = b.PagedAttention(q, k, v, layer, 4, 1.0f, 0);
    x = b.Add(x, b.Linear(a, b.Weight(p + "o", 64, 128)));
    b.Enter(Part::kFeedForward, layer);
    const ValueId gate = b.Linear(x, b.Weight(p + "g", 192, 64));
    const ValueId up = b.Linear(x, b.Weight(p + "u", 192, 64));
    x = b.Add(x, b.Linear(b.Glu(gate, up, Activation::kSilu), b.Weight(p + "d", 64, 192)));
  }
  b.Enter(Part::kHead);
  return b.Finish(b.Linear(b.SelectOutputs(x), table), {2, 2, 32});
}

SlicedGraph Slice(std::string_view placement, const DeviceSpaces& spaces = {{"cpu", 0}, {"gpu", 0}, {"far", 1}}) {
  Result<SlicedGraph> sliced = SliceGraph(TwoLayers(), *ParsePlacement(placement), spaces);
  EXPECT_TRUE(sliced.ok()) << sliced.status().ToString();
  return std::move(*sliced);
}

// "cpu gpu cpu"
std::string Devices(const Plan& plan) {
  std::string out;
  for (const PlanStep& step : plan.steps) out += (out.empty() ? "" : " ") + step.device_id;
  return out;
}

// Every op once, in order.
void ExpectComplete(const SlicedGraph& sliced, const Plan& plan) {
  int32_t next = 0;
  for (const PlanStep& step : plan.steps) {
    EXPECT_EQ(step.segment.op_begin, next);
    EXPECT_LT(next, step.segment.op_end);
    next = step.segment.op_end;
  }
  EXPECT_EQ(next, static_cast<int32_t>(sliced.graph.ops.size()));
  // Values are written before they are read, and once.
  std::vector<int> written(sliced.graph.values.size(), 0);
  for (const Op& op : sliced.graph.ops) {
    for (const ValueId in : OpInputs(op.body)) EXPECT_EQ(written[static_cast<size_t>(in)], 1);
    ++written[static_cast<size_t>(OpOutput(op.body))];
  }
  EXPECT_EQ(written[static_cast<size_t>(sliced.graph.logits)], 1);
}

TEST(SlicerTest, CutsByPhaseLayerAndBlock) {
  const SlicedGraph whole = Slice("all cpu");
  EXPECT_EQ(Devices(whole.prefill), "cpu");
  EXPECT_TRUE(whole.prefill.last_transfers.empty());
  const SlicedGraph phases = Slice("prefill gpu; decode cpu");
  EXPECT_EQ(Devices(phases.prefill), "gpu");
  EXPECT_EQ(Devices(phases.decode), "cpu");
  EXPECT_EQ(Devices(Slice("layers 0-0 gpu; rest cpu").prefill), "cpu gpu cpu");
  EXPECT_EQ(Devices(Slice("ffn gpu; rest cpu").decode), "cpu gpu cpu gpu cpu");
  EXPECT_EQ(Devices(Slice("head gpu; rest cpu").decode), "cpu gpu");
  EXPECT_EQ(Devices(Slice("layers 0-0 cpu; rest cpu").decode), "cpu cpu cpu");
  for (const char* placement : {"layers 0-0 gpu; rest cpu", "ffn gpu; rest cpu", "attention gpu"}) {
    const SlicedGraph sliced = Slice(placement);
    ExpectComplete(sliced, sliced.prefill);
    ExpectComplete(sliced, sliced.decode);
  }
}

TEST(SlicerTest, TransfersOnlyBetweenMemories) {
  // Devices in one memory move nothing, wherever the cut is.
  const SlicedGraph shared = Slice("ffn gpu; rest cpu");
  EXPECT_EQ(PredictActivationBytes(shared.graph, shared.prefill, 10, 1), 0u);
  // A block elsewhere: x in, x out, each layer; both are [T, 64].
  const SlicedGraph far = Slice("ffn far; rest cpu");
  EXPECT_EQ(PredictActivationBytes(far.graph, far.prefill, 10, 1), 2u * 2 * 10 * 64 * 4);
  // Everything elsewhere: the logits come back.
  const SlicedGraph all = Slice("all far");
  EXPECT_EQ(PredictActivationBytes(all.graph, all.decode, 1, 1), 100u * 4);
  ASSERT_EQ(all.decode.last_transfers.size(), 1u);
  EXPECT_EQ(all.decode.last_transfers[0].to, kHostSpace);
}

TEST(SlicerTest, TwoFarMemoriesMeetInTheHosts) {
  const SlicedGraph sliced = Slice("attention far; ffn further; rest cpu", {{"cpu", 0}, {"far", 1}, {"further", 2}});
  for (const PlanStep& step : sliced.prefill.steps) {
    for (const Transfer& transfer : step.transfers) {
      EXPECT_TRUE(transfer.from == kHostSpace || transfer.to == kHostSpace);
    }
  }
  ExpectComplete(sliced, sliced.prefill);
}

TEST(SlicerTest, CutsMatricesByRows) {
  const SlicedGraph sliced = Slice("rows 0.5 gpu; rest cpu");
  ExpectComplete(sliced, sliced.prefill);
  const auto find = [&](std::string_view name) {
    for (size_t i = 0; i < sliced.graph.weights.size(); ++i) {
      if (sliced.graph.weights[i].name == name) return i;
    }
    ADD_FAILURE() << "no weight " << name;
    return size_t{0};
  };
  const size_t device = find("0q[0:64]"), rest = find("0q[64:128]"), bias = find("0qb[64:128]");
  EXPECT_EQ(sliced.graph.weights[device].rows, 64);
  EXPECT_EQ(sliced.slices[rest].row_begin, 64);
  EXPECT_EQ(sliced.graph.weights[bias].rows, 1);
  EXPECT_EQ(sliced.graph.weights[bias].cols, 64);
  // 192 rows are cut after 96, the table of 100 after 64 (a multiple of 32), and it is not cut where it embeds.
  find("1g[0:96]");
  find("embed[64:100]");
  EXPECT_EQ(std::get<EmbedOp>(sliced.graph.ops[0].body).table, 0);
  // q, k, v; o; gate, up and GLU; down: four groups a layer, and the head.
  int gpu_steps = 0;
  for (const PlanStep& step : sliced.prefill.steps) gpu_steps += step.device_id == "gpu" ? 1 : 0;
  EXPECT_EQ(gpu_steps, 2 * 4 + 1);
}

TEST(SlicerTest, RowsMayBeCutForOnePhase) {
  const SlicedGraph sliced = Slice("prefill rows 0.5 gpu; rest cpu");
  ExpectComplete(sliced, sliced.prefill);
  ExpectComplete(sliced, sliced.decode);
  EXPECT_GT(sliced.prefill.steps.size(), 9U);
  ASSERT_EQ(sliced.decode.steps.size(), 1U);
  EXPECT_EQ(sliced.decode.steps[0].device_id, "cpu");
}

TEST(SlicerTest, RefusesWhatIsNotThere) {
  const auto layers = SliceGraph(TwoLayers(), *ParsePlacement("layers 1-2 cpu"), {{"cpu", 0}});
  EXPECT_THAT(layers.status().message(), HasSubstr("layers 0 to 1"));
  const auto device = SliceGraph(TwoLayers(), *ParsePlacement("ffn gpu"), {{"cpu", 0}});
  EXPECT_EQ(device.status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace lem
