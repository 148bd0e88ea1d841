#include "graph/plan.h"

#include <gtest/gtest.h>

namespace lem {
namespace {

// embed -> norm -> linear -> add(embed) -> outputs -> head
Graph SmallGraph() {
  GraphBuilder b("test");
  const ValueId embedding = b.Embed(b.Weight("embed", 10, 8), 1.0f);
  b.Enter(Part::kFeedForward, 0);
  const ValueId norm = b.RmsNorm(embedding, b.Weight("norm", 1, 8), 1e-5f);
  const ValueId linear = b.Linear(norm, b.Weight("w", 8, 8));
  const ValueId sum = b.Add(embedding, linear);
  b.Enter(Part::kHead);
  const ValueId logits = b.Linear(b.SelectOutputs(sum), b.Weight("embed", 10, 8));
  return b.Finish(logits, {});
}

TEST(GraphTest, BuilderSharesWeightsAndTagsParts) {
  const Graph graph = SmallGraph();
  EXPECT_EQ(graph.weights.size(), 3u);
  EXPECT_EQ(graph.vocab_size, 10);
  EXPECT_EQ(graph.hidden_size, 8);
  EXPECT_EQ(graph.ops[1].layer, 0);
  EXPECT_EQ(graph.ops.back().part, Part::kHead);
  EXPECT_EQ(graph.values[static_cast<size_t>(graph.logits)].rows, Rows::kOutputs);
}

TEST(PlanTest, BoundariesOfAWholeGraphAndOfACut) {
  const Graph graph = SmallGraph();
  const SegmentBoundary whole = FindBoundary(graph, {0, static_cast<int32_t>(graph.ops.size())});
  EXPECT_TRUE(whole.inputs.empty());
  EXPECT_EQ(whole.outputs, std::vector<ValueId>{graph.logits});
  // Cut inside the layer: the residual and the norm cross.
  const SegmentBoundary first = FindBoundary(graph, {0, 2});
  EXPECT_EQ(first.outputs, (std::vector<ValueId>{0, 1}));
  const SegmentBoundary second = FindBoundary(graph, {2, static_cast<int32_t>(graph.ops.size())});
  EXPECT_EQ(second.inputs, (std::vector<ValueId>{1, 0}));
}

}  // namespace
}  // namespace lem
