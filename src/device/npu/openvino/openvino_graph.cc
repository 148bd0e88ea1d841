#include "device/npu/openvino/openvino_graph.h"

#include <algorithm>

#include "base/check.h"

namespace lem {
namespace {

using openvino::OpKind;

template <typename T>
bool Contains(const std::vector<T>& list, const T& item) {
  return std::ranges::find(list, item) != list.end();
}
template <typename T>
void AddOnce(std::vector<T>& list, const T& item) {
  if (!Contains(list, item)) list.push_back(item);
}

bool IsOfDriver(const OpBody& body) {
  return std::holds_alternative<EmbedOp>(body) || std::holds_alternative<SelectOutputsOp>(body);
}

}  // namespace

OpenVinoPart MakeOpenVinoPart(const Graph& model, const Segment& segment, Rows rows) {
  OpenVinoPart part{.rows = rows};
  std::vector<ValueId> written;
  for (int32_t i = segment.op_begin; i < segment.op_end; ++i) {
    const OpBody& body = model.ops[static_cast<size_t>(i)].body;
    const ValueId out = OpOutput(body);
    if (IsOfDriver(body) || model.values[static_cast<size_t>(out)].rows != rows) continue;
    part.ops.push_back(i);
    for (const ValueId in : OpInputs(body)) {
      if (!Contains(written, in)) AddOnce(part.inputs, in);
    }
    written.push_back(out);
    if (const auto* rope = std::get_if<RopeOp>(&body)) AddOnce(part.ropes, rope->rope);
    if (const auto* attention = std::get_if<PagedAttentionOp>(&body)) {
      part.attentions.push_back(i);
      AddOnce(part.windows, attention->window);
      const auto window = std::ranges::find(part.windows, attention->window);
      part.window_of.push_back(static_cast<size_t>(window - part.windows.begin()));
      for (const ValueId id : {attention->k, attention->v}) {
        if (Contains(written, id)) AddOnce(part.outputs, id);
      }
    }
  }
  for (const ValueId id : FindBoundary(model, segment).outputs) {
    if (Contains(written, id)) AddOnce(part.outputs, id);
  }
  for (int32_t i = segment.op_begin; i < segment.op_end; ++i) {
    const auto* select = std::get_if<SelectOutputsOp>(&model.ops[static_cast<size_t>(i)].body);
    if (select != nullptr && Contains(written, select->in)) AddOnce(part.outputs, select->in);
  }
  return part;
}

OpenVinoDescription::OpenVinoDescription(const StaticGraph& graph, const OpenVinoPart& part, int64_t context,
                                         const OpenVinoWeightOf& weight_of)
    : weight_of_(weight_of), window_of_(part.window_of.rbegin(), part.window_of.rend()) {
  const Graph& model = *graph.model;
  view_.rows = part.rows == Rows::kTokens ? graph.tokens : graph.outputs;
  view_.context = context;
  view_.kv_heads = model.kv.num_kv_heads;
  view_.head_dim = model.kv.head_dim;
  name_ = fmt::format("{}_{}_{}_{}x{}", model.architecture, graph.segment.op_begin, graph.segment.op_end, view_.rows,
                      context);
  view_.name = name_.c_str();
  for (const Value& value : model.values) cols_.push_back(value.cols);
  view_.num_values = static_cast<int32_t>(cols_.size());
  view_.cols = cols_.data();
  for (const int32_t rope : part.ropes) {
    const RopeSpec& spec = model.ropes[static_cast<size_t>(rope)];
    ropes_.push_back({spec.rotary_dim, spec.interleaved ? 1 : 0});
  }
  view_.num_ropes = static_cast<int32_t>(ropes_.size());
  view_.ropes = ropes_.data();
  view_.num_masks = static_cast<int32_t>(part.windows.size());
  op_inputs_.reserve(part.ops.size());
  for (const StaticOp& planned : graph.ops) {
    if (!Contains(part.ops, planned.op_idx)) continue;
    const OpBody& body = model.ops[static_cast<size_t>(planned.op_idx)].body;
    openvino::Op& op = ops_.emplace_back();
    op.weight = op.bias = -1;
    op.out = OpOutput(body);
    const std::vector<int32_t>& inputs = op_inputs_.emplace_back(OpInputs(body));
    op.inputs = inputs.data();
    op.num_inputs = static_cast<int32_t>(inputs.size());
    Describe(part, body, op);
  }
  view_.num_ops = static_cast<int32_t>(ops_.size());
  view_.ops = ops_.data();
  view_.num_weights = static_cast<int32_t>(weights_.size());
  view_.weights = weights_.data();
  view_.num_inputs = static_cast<int32_t>(part.inputs.size());
  view_.inputs = part.inputs.data();
  view_.num_outputs = static_cast<int32_t>(part.outputs.size());
  view_.outputs = part.outputs.data();
}

int32_t OpenVinoDescription::AddWeight(WeightSlot slot, bool is_matrix) {
  if (slot == kNone) return -1;
  weights_.push_back(weight_of_(slot, is_matrix));
  return static_cast<int32_t>(weights_.size()) - 1;
}

void OpenVinoDescription::Describe(const OpenVinoPart& part, const OpBody& body, openvino::Op& op) {
  if (const auto* norm = std::get_if<RmsNormOp>(&body)) {
    op.kind = OpKind::kRmsNorm;
    op.weight = AddWeight(norm->weight, false);
    op.group = norm->group;
    op.eps = norm->eps;
  } else if (const auto* linear = std::get_if<LinearOp>(&body)) {
    op.kind = OpKind::kLinear;
    op.weight = AddWeight(linear->weight, true);
    op.bias = AddWeight(linear->bias, false);
  } else if (const auto* rope = std::get_if<RopeOp>(&body)) {
    op.kind = OpKind::kRope;
    op.rope = static_cast<int32_t>(std::ranges::find(part.ropes, rope->rope) - part.ropes.begin());
    op.head_dim = rope->head_dim;
  } else if (const auto* attention = std::get_if<PagedAttentionOp>(&body)) {
    op.kind = OpKind::kAttention;
    op.num_heads = attention->num_heads;
    op.scale = attention->scale;
    op.softcap = attention->softcap;
    op.mask = static_cast<int32_t>(window_of_.back());
    window_of_.pop_back();
  } else if (const auto* glu = std::get_if<GluOp>(&body)) {
    op.kind = glu->activation == Activation::kSilu ? OpKind::kSiluGlu : OpKind::kGeluGlu;
  } else if (std::holds_alternative<AddOp>(body)) {
    op.kind = OpKind::kAdd;
  } else if (const auto* softcap = std::get_if<SoftcapOp>(&body)) {
    op.kind = OpKind::kSoftcap;
    op.softcap = softcap->cap;
  } else {
    LEM_CHECK(std::holds_alternative<ConcatOp>(body)) << "embeddings and choices of rows are the driver's";
    op.kind = OpKind::kConcat;
  }
}

}  // namespace lem
