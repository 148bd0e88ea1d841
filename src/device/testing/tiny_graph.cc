#include "device/testing/tiny_graph.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>

#include "tensor/quantize.h"

namespace lem {

TinyGraph MakeTinyGraph(const TinyGraphShape& s) {
  constexpr int64_t kHidden = 64, kIntermediate = 96, kVocab = kTinyGraphVocab;
  GraphBuilder b("tiny");
  const int32_t rope = b.Rope({.rotary_dim = s.head_dim, .interleaved = !s.gemma_like});
  const WeightSlot embedding = b.Weight("embed", kVocab, kHidden);
  ValueId x = b.Embed(embedding, s.gemma_like ? 2.0f : 1.0f);
  const auto norm = [&](ValueId in, const std::string& name, int64_t group) {
    return b.RmsNorm(in, b.Weight(name, 1, group), 1e-5f, group);
  };
  for (int32_t layer = 0; layer < s.num_layers; ++layer) {
    const std::string p = std::to_string(layer);
    const int64_t q_cols = s.num_heads * s.head_dim, kv_cols = s.num_kv_heads * s.head_dim;
    b.Enter(Part::kAttention, layer);
    const ValueId h = norm(x, p + "an", kHidden);
    ValueId q = b.Linear(h, b.Weight(p + "q", q_cols, kHidden), b.Weight(p + "qb", 1, q_cols));
    ValueId k = b.Linear(h, b.Weight(p + "k", kv_cols, kHidden));
    const ValueId v = b.Linear(h, b.Weight(p + "v", kv_cols, kHidden));
    if (s.gemma_like) {
      q = norm(q, p + "qn", s.head_dim);
      k = norm(k, p + "kn", s.head_dim);
    }
    const ValueId a =
        b.PagedAttention(b.Rope(q, rope, s.head_dim), b.Rope(k, rope, s.head_dim), v, layer, s.num_heads,
                         1.0f / std::sqrt(static_cast<float>(s.head_dim)), layer == 0 ? s.window : 0, s.softcap);
    ValueId o = b.Linear(a, b.Weight(p + "o", kHidden, q_cols));
    if (s.gemma_like) o = norm(o, p + "pn", kHidden);
    x = b.Add(x, o);
    b.Enter(Part::kFeedForward, layer);
    const ValueId f = norm(x, p + "fn", kHidden);
    const ValueId gate = b.Linear(f, b.Weight(p + "g", kIntermediate, kHidden));
    const ValueId up = b.Linear(f, b.Weight(p + "u", kIntermediate, kHidden));
    const ValueId glu = b.Glu(gate, up, s.gemma_like ? Activation::kGeluTanh : Activation::kSilu);
    x = b.Add(x, b.Linear(glu, b.Weight(p + "d", kHidden, kIntermediate)));
  }
  b.Enter(Part::kHead);
  x = norm(b.SelectOutputs(x), "on", kHidden);
  ValueId logits = b.Linear(x, embedding);
  if (s.gemma_like) logits = b.Softcap(logits, 5.0f);
  TinyGraph model;
  model.graph = b.Finish(logits, {s.num_layers, s.num_kv_heads, s.head_dim});

  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const WeightInfo& info : model.graph.weights) {
    auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(info.rows * info.cols));
    const float scale = info.rows == 1 ? 1.0f : 1.5f / std::sqrt(static_cast<float>(info.cols));
    for (float& value : *values) value = scale * normal(random);
    if (info.rows > 1 && s.matrices != DType::kF32) {
      const size_t row_bytes = *RowBytes(s.matrices, static_cast<uint64_t>(info.cols));
      auto blocks = std::make_shared<std::vector<std::byte>>(row_bytes * static_cast<size_t>(info.rows));
      for (int64_t row = 0; row < info.rows; ++row) {
        QuantizeRow(s.matrices, values->data() + row * info.cols, blocks->data() + static_cast<size_t>(row) * row_bytes,
                    info.cols);
      }
      const WeightDesc desc{info.name, s.matrices, Layout::kGgufRows, info.rows, info.cols, row_bytes};
      model.handles.push_back(model.table.Add(desc, *blocks, blocks));
      continue;
    }
    const WeightDesc desc{info.name, DType::kF32, Layout::kGgufRows,
                          info.rows, info.cols,   static_cast<size_t>(info.cols) * 4};
    model.handles.push_back(model.table.Add(desc, std::as_bytes(std::span(*values)), values));
  }
  return model;
}

std::vector<int32_t> TinyTokens(size_t count) {
  std::vector<int32_t> tokens(count);
  std::mt19937 random(5);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % kTinyGraphVocab);
  return tokens;
}

double NormalisedError(std::span<const float> found, std::span<const float> expected) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double d = static_cast<double>(found[i]) - static_cast<double>(expected[i]);
    error += d * d;
    norm += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  return error / norm;
}

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return std::ranges::equal(std::as_bytes(a), std::as_bytes(b));
}

}  // namespace lem
