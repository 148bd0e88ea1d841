#include "device/npu/openvino/plugin/model_builder.h"

#include <openvino/openvino.hpp>
#include <openvino/opsets/opset13.hpp>
#include <span>
#include <string>
#include <vector>

namespace lem::openvino {
namespace {

namespace op = ov::opset13;
using Node = ov::Output<ov::Node>;

size_t Size(int64_t value) { return static_cast<size_t>(value); }

Node Scalar(float value) { return op::Constant::create(ov::element::f32, ov::Shape{}, {value}); }
Node Integers(const std::vector<int64_t>& values) {
  return op::Constant::create(ov::element::i64, ov::Shape{values.size()}, values);
}
Node Reshape(const Node& in, const std::vector<int64_t>& shape) {
  return std::make_shared<op::Reshape>(in, Integers(shape), false);
}
Node Transpose(const Node& in, const std::vector<int64_t>& order) {
  return std::make_shared<op::Transpose>(in, Integers(order));
}
// in[..., begin:end] of the last axis.
Node Slice(const Node& in, int64_t begin, int64_t end) {
  return std::make_shared<op::Slice>(in, Integers({begin}), Integers({end}), Integers({1}), Integers({-1}));
}
Node Multiply(const Node& a, const Node& b) { return std::make_shared<op::Multiply>(a, b); }
Node Add(const Node& a, const Node& b) { return std::make_shared<op::Add>(a, b); }
Node MatMul(const Node& a, const Node& b, bool transpose_b = false) {
  return std::make_shared<op::MatMul>(a, b, false, transpose_b);
}
Node Concat(const ov::OutputVector& parts) { return std::make_shared<op::Concat>(parts, -1); }
Node Softcap(const Node& in, float cap) {
  return Multiply(std::make_shared<op::Tanh>(Multiply(in, Scalar(1.0f / cap))), Scalar(cap));
}
Node ToFloat(const Node& in) { return std::make_shared<op::Convert>(in, ov::element::f32); }

// The caller's memory as a constant: nothing is copied.
Node Wrap(const ov::element::Type& type, const ov::Shape& shape, const void* data) {
  return std::make_shared<op::Constant>(type, shape, data, nullptr);
}

class Builder {
 public:
  explicit Builder(const Graph& graph) : graph_(graph), values_(Size(graph.num_values)) {}

  std::shared_ptr<ov::Model> Build() {
    AddParameters();
    for (const Op& each : std::span(graph_.ops, Size(graph_.num_ops))) values_[Size(each.out)] = Make(each);
    ov::ResultVector results;
    for (const int32_t value : std::span(graph_.outputs, Size(graph_.num_outputs))) {
      results.push_back(std::make_shared<op::Result>(values_[Size(value)]));
    }
    return std::make_shared<ov::Model>(results, parameters_, graph_.name);
  }

 private:
  Node Parameter(const ov::element::Type& type, const std::vector<int64_t>& shape) {
    ov::Shape sizes;
    for (const int64_t size : shape) sizes.push_back(Size(size));
    return parameters_.emplace_back(std::make_shared<op::Parameter>(type, sizes));
  }

  void AddParameters() {
    for (const int32_t value : std::span(graph_.inputs, Size(graph_.num_inputs))) {
      values_[Size(value)] = Parameter(ov::element::f32, {graph_.rows, graph_.cols[value]});
    }
    for (const Rope& rope : std::span(graph_.ropes, Size(graph_.num_ropes))) {
      for (int i = 0; i < 2; ++i) {
        ropes_.push_back(Parameter(ov::element::f32, {graph_.rows, 1, rope.rotary_dim / 2}));
      }
    }
    for (int32_t i = 0; i < graph_.num_masks; ++i) {
      masks_.push_back(Parameter(ov::element::f32, {graph_.rows, graph_.context + graph_.rows}));
    }
    for (const Op& each : std::span(graph_.ops, Size(graph_.num_ops))) {
      if (each.kind != OpKind::kAttention) continue;
      past_.push_back(Parameter(ov::element::f16, {graph_.kv_heads, graph_.head_dim, graph_.context}));
      past_.push_back(Parameter(ov::element::f16, {graph_.kv_heads, graph_.context, graph_.head_dim}));
    }
  }

  Node In(const Op& each, int32_t i) const { return values_[Size(each.inputs[i])]; }
  int64_t ColsOf(const Op& each, int32_t i) const { return graph_.cols[each.inputs[i]]; }
  const Weight& WeightOf(int32_t index) const { return graph_.weights[index]; }
  // A norm's weights or a bias.
  Node Vector(int32_t index) const {
    const Weight& weight = WeightOf(index);
    return Wrap(ov::element::f32, {Size(weight.cols)}, weight.values);
  }

  Node Make(const Op& each) {
    switch (each.kind) {
      case OpKind::kRmsNorm:
        return RmsNorm(each);
      case OpKind::kLinear: {
        const Node product = MatMul(In(each, 0), Matrix(WeightOf(each.weight)), true);
        return each.bias < 0 ? product : Add(product, Vector(each.bias));
      }
      case OpKind::kRope:
        return Rotate(each);
      case OpKind::kAttention:
        return Attention(each);
      case OpKind::kSiluGlu:
        return Multiply(std::make_shared<op::Swish>(In(each, 0)), In(each, 1));
      case OpKind::kGeluGlu:
        return Multiply(std::make_shared<op::Gelu>(In(each, 0), ov::op::GeluApproximationMode::TANH), In(each, 1));
      case OpKind::kAdd:
        return Add(In(each, 0), In(each, 1));
      case OpKind::kSoftcap:
        return Softcap(In(each, 0), each.softcap);
      case OpKind::kConcat: {
        ov::OutputVector parts;
        for (int32_t i = 0; i < each.num_inputs; ++i) parts.push_back(In(each, i));
        return Concat(parts);
      }
    }
    throw std::invalid_argument("unknown op " + std::to_string(static_cast<int32_t>(each.kind)));
  }

  Node RmsNorm(const Op& each) {
    const int64_t cols = ColsOf(each, 0);
    Node x = In(each, 0);
    if (each.group != cols) x = Reshape(x, {graph_.rows, cols / each.group, each.group});
    const Node mean =
        std::make_shared<op::ReduceMean>(std::make_shared<op::Power>(x, Scalar(2.0f)), Integers({-1}), true);
    const Node root = std::make_shared<op::Sqrt>(Add(mean, Scalar(each.eps)));
    const Node normal = Multiply(x, std::make_shared<op::Divide>(Scalar(1.0f), root));
    const Node out = Multiply(normal, Vector(each.weight));
    return each.group != cols ? Reshape(out, {graph_.rows, cols}) : out;
  }

  // As float32 [rows, cols], in the form that the runtime keeps compressed.
  Node Matrix(const Weight& weight) {
    const size_t rows = Size(weight.rows), cols = Size(weight.cols), groups = Size(weight.groups);
    if (weight.type == WeightType::kF32) return Wrap(ov::element::f32, {rows, cols}, weight.values);
    if (weight.type == WeightType::kBf16) return ToFloat(Wrap(ov::element::bf16, {rows, cols}, weight.values));
    const ov::Shape grouped{rows, groups, Size(weight.group)}, each_group{rows, groups, 1};
    const bool four_bits = weight.type == WeightType::kInt4;
    Node values = ToFloat(Wrap(four_bits ? ov::element::u4 : ov::element::i8, grouped, weight.values));
    if (four_bits) {
      values = std::make_shared<op::Subtract>(values, Wrap(ov::element::f32, each_group, weight.zero_points));
    }
    const Node scaled = Multiply(values, Wrap(ov::element::f32, each_group, weight.scales));
    const Node flat = Reshape(scaled, {weight.rows, weight.groups * weight.group});
    return weight.groups * weight.group == weight.cols ? flat : Slice(flat, 0, weight.cols);
  }

  // x [rows, heads, head_dim], each pair (a, b) turned into (a cos - b sin, a sin + b cos).
  Node Rotate(const Op& each) {
    const Rope& rope = graph_.ropes[each.rope];
    const size_t tables = 2 * Size(each.rope);
    const Node cosine = ropes_[tables], sine = ropes_[tables + 1];
    const int64_t cols = ColsOf(each, 0), heads = cols / each.head_dim, half = rope.rotary_dim / 2;
    const Node x = Reshape(In(each, 0), {graph_.rows, heads, each.head_dim});
    Node a, b;
    if (rope.interleaved != 0) {
      const Node pairs = Reshape(Slice(x, 0, rope.rotary_dim), {graph_.rows, heads, half, 2});
      a = Reshape(Slice(pairs, 0, 1), {graph_.rows, heads, half});
      b = Reshape(Slice(pairs, 1, 2), {graph_.rows, heads, half});
    } else {
      a = Slice(x, 0, half);
      b = Slice(x, half, rope.rotary_dim);
    }
    Node first = std::make_shared<op::Subtract>(Multiply(a, cosine), Multiply(b, sine));
    Node second = Add(Multiply(a, sine), Multiply(b, cosine));
    ov::OutputVector parts;
    if (rope.interleaved != 0) {
      first = Reshape(first, {graph_.rows, heads, half, 1});
      second = Reshape(second, {graph_.rows, heads, half, 1});
      parts = {Reshape(Concat({first, second}), {graph_.rows, heads, rope.rotary_dim})};
    } else {
      parts = {first, second};
    }
    if (rope.rotary_dim < each.head_dim) parts.push_back(Slice(x, rope.rotary_dim, each.head_dim));
    return Reshape(parts.size() == 1 ? parts[0] : Concat(parts), {graph_.rows, cols});
  }

  // Scores against the past and against these rows side by side, one softmax over both.
  Node Attention(const Op& each) {
    const int64_t rows = graph_.rows, heads = graph_.kv_heads, dim = graph_.head_dim, context = graph_.context;
    const int64_t group = each.num_heads / heads;
    const Node past_k = ToFloat(past_[num_attentions_]), past_v = ToFloat(past_[num_attentions_ + 1]);
    num_attentions_ += 2;
    const Node q =
        Reshape(Transpose(Reshape(Multiply(In(each, 0), Scalar(each.scale)), {rows, heads, group, dim}), {1, 2, 0, 3}),
                {heads, group * rows, dim});
    const Node k = Transpose(Reshape(In(each, 1), {rows, heads, dim}), {1, 2, 0});
    const Node v = Transpose(Reshape(In(each, 2), {rows, heads, dim}), {1, 0, 2});
    Node scores = Reshape(Concat({MatMul(q, past_k), MatMul(q, k)}), {heads, group, rows, context + rows});
    if (each.softcap > 0) scores = Softcap(scores, each.softcap);
    scores = Add(scores, masks_[Size(each.mask)]);
    const Node weights = Reshape(std::make_shared<op::Softmax>(scores, -1), {heads, group * rows, context + rows});
    const Node mixed =
        Add(MatMul(Slice(weights, 0, context), past_v), MatMul(Slice(weights, context, context + rows), v));
    return Reshape(Transpose(Reshape(mixed, {heads, group, rows, dim}), {2, 0, 1, 3}), {rows, heads * group * dim});
  }

  const Graph& graph_;
  ov::ParameterVector parameters_;
  std::vector<Node> values_;  // [values]
  std::vector<Node> ropes_, masks_, past_;
  size_t num_attentions_ = 0;
};

}  // namespace

std::shared_ptr<ov::Model> BuildModel(const Graph& graph) { return Builder(graph).Build(); }

}  // namespace lem::openvino
