#include "graph/graph.h"

#include <utility>

#include "base/check.h"

namespace lem {

std::vector<ValueId> OpInputs(const OpBody& body) {
  struct Visitor {
    std::vector<ValueId> operator()(const EmbedOp&) const { return {}; }
    std::vector<ValueId> operator()(const RmsNormOp& op) const { return {op.in}; }
    std::vector<ValueId> operator()(const LinearOp& op) const { return {op.in}; }
    std::vector<ValueId> operator()(const RopeOp& op) const { return {op.in}; }
    std::vector<ValueId> operator()(const PagedAttentionOp& op) const { return {op.q, op.k, op.v}; }
    std::vector<ValueId> operator()(const GluOp& op) const { return {op.gate, op.up}; }
    std::vector<ValueId> operator()(const AddOp& op) const { return {op.a, op.b}; }
    std::vector<ValueId> operator()(const SelectOutputsOp& op) const { return {op.in}; }
    std::vector<ValueId> operator()(const SoftcapOp& op) const { return {op.in}; }
    std::vector<ValueId> operator()(const ConcatOp& op) const { return op.parts; }
  };
  return std::visit(Visitor{}, body);
}

std::vector<WeightSlot> OpWeights(const OpBody& body) {
  if (const auto* embed = std::get_if<EmbedOp>(&body)) return {embed->table};
  if (const auto* norm = std::get_if<RmsNormOp>(&body)) return {norm->weight};
  const auto* linear = std::get_if<LinearOp>(&body);
  if (linear == nullptr) return {};
  return linear->bias == kNone ? std::vector{linear->weight} : std::vector{linear->weight, linear->bias};
}

ValueId OpOutput(const OpBody& body) {
  return std::visit([](const auto& op) { return op.out; }, body);
}

Graph WithoutHead(Graph graph) {
  // The head is the last product, and what is done to it.
  bool cut = false;
  while (!cut) {
    const OpBody body = graph.ops.back().body;
    cut = std::holds_alternative<LinearOp>(body);
    LEM_CHECK(OpInputs(body).size() == 1 && OpOutput(body) + 1 == static_cast<ValueId>(graph.values.size()))
        << "a head is a product and functions of it";
    graph.logits = OpInputs(body).front();
    graph.ops.pop_back();
    graph.values.pop_back();
  }
  graph.vocab_size = graph.values[static_cast<size_t>(graph.logits)].cols;
  return graph;
}

void GraphBuilder::Enter(Part part, int32_t layer) {
  part_ = part;
  layer_ = layer;
}

WeightSlot GraphBuilder::Weight(std::string name, int64_t rows, int64_t cols) {
  for (size_t i = 0; i < graph_.weights.size(); ++i) {
    if (graph_.weights[i].name == name) return static_cast<WeightSlot>(i);
  }
  graph_.weights.push_back({std::move(name), rows, cols});
  return static_cast<WeightSlot>(graph_.weights.size() - 1);
}

int32_t GraphBuilder::Rope(const RopeSpec& spec) {
  graph_.ropes.push_back(spec);
  return static_cast<int32_t>(graph_.ropes.size() - 1);
}

ValueId GraphBuilder::AddValue(const char* name, Rows rows, int64_t cols) {
  std::string full = layer_ == kNone ? name : "layer" + std::to_string(layer_) + "." + name;
  graph_.values.push_back({std::move(full), rows, cols});
  return static_cast<ValueId>(graph_.values.size() - 1);
}

void GraphBuilder::AddOp(OpBody body) { graph_.ops.push_back({std::move(body), part_, layer_}); }

ValueId GraphBuilder::Embed(WeightSlot table, float scale) {
  const WeightInfo& info = graph_.weights[static_cast<size_t>(table)];
  const ValueId out = AddValue("embedding", Rows::kTokens, info.cols);
  AddOp(EmbedOp{table, scale, out});
  return out;
}

ValueId GraphBuilder::RmsNorm(ValueId in, WeightSlot weight, float eps, int64_t group) {
  const int64_t cols = value(in).cols;
  if (group == 0) group = cols;
  LEM_CHECK(cols % group == 0) << cols << " columns in groups of " << group;
  const ValueId out = AddValue("norm", value(in).rows, cols);
  AddOp(RmsNormOp{in, weight, group, eps, out});
  return out;
}

ValueId GraphBuilder::Linear(ValueId in, WeightSlot weight, WeightSlot bias) {
  const WeightInfo& info = graph_.weights[static_cast<size_t>(weight)];
  LEM_CHECK(info.cols == value(in).cols) << info.name << " has " << info.cols << " columns, its input "
                                         << value(in).cols;
  const ValueId out = AddValue("linear", value(in).rows, info.rows);
  AddOp(LinearOp{in, weight, bias, out});
  return out;
}

ValueId GraphBuilder::Rope(ValueId in, int32_t rope, int64_t head_dim) {
  const ValueId out = AddValue("rope", value(in).rows, value(in).cols);
  AddOp(RopeOp{in, rope, head_dim, out});
  return out;
}

ValueId GraphBuilder::PagedAttention(ValueId q, ValueId k, ValueId v, int32_t layer, int64_t num_heads, float scale,
                                     int64_t window, float softcap) {
  const ValueId out = AddValue("attention", value(q).rows, value(q).cols);
  AddOp(PagedAttentionOp{q, k, v, layer, num_heads, scale, window, softcap, out});
  return out;
}

ValueId GraphBuilder::Glu(ValueId gate, ValueId up, Activation activation) {
  const ValueId out = AddValue("glu", value(gate).rows, value(gate).cols);
  AddOp(GluOp{gate, up, activation, out});
  return out;
}

ValueId GraphBuilder::Add(ValueId a, ValueId b) {
  LEM_CHECK(value(a).cols == value(b).cols);
  const ValueId out = AddValue("add", value(a).rows, value(a).cols);
  AddOp(lem::AddOp{a, b, out});
  return out;
}

ValueId GraphBuilder::SelectOutputs(ValueId in) {
  const ValueId out = AddValue("outputs", Rows::kOutputs, value(in).cols);
  AddOp(SelectOutputsOp{in, out});
  return out;
}

ValueId GraphBuilder::Softcap(ValueId in, float cap) {
  const ValueId out = AddValue("softcap", value(in).rows, value(in).cols);
  AddOp(SoftcapOp{in, cap, out});
  return out;
}

Graph GraphBuilder::Finish(ValueId logits, const KvSpec& kv) {
  graph_.logits = logits;
  graph_.kv = kv;
  graph_.vocab_size = value(logits).cols;
  graph_.hidden_size = graph_.values.front().cols;
  return std::move(graph_);
}

}  // namespace lem
