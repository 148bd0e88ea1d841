#include "runtime/profile/probe_model.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <random>

#include "tensor/quantize.h"

namespace lem {
namespace {

// A matrix repeats so many random rows: kernels cannot tell, and quantising takes no time.
constexpr int64_t kDistinctRows = 8;

std::shared_ptr<std::vector<std::byte>> RandomRows(const WeightDesc& desc, std::mt19937& random) {
  std::normal_distribution<float> normal;
  const float scale = desc.rows == 1 ? 1.0f : 1.0f / std::sqrt(static_cast<float>(desc.cols));
  auto bytes = std::make_shared<std::vector<std::byte>>(desc.row_bytes * static_cast<size_t>(desc.rows));
  std::vector<float> row(static_cast<size_t>(desc.cols));
  for (int64_t r = 0; r < desc.rows; ++r) {
    std::byte* out = bytes->data() + static_cast<size_t>(r) * desc.row_bytes;
    if (r >= kDistinctRows) {
      std::memcpy(out, out - kDistinctRows * static_cast<int64_t>(desc.row_bytes), desc.row_bytes);
      continue;
    }
    for (float& value : row) value = scale * normal(random);
    QuantizeRow(desc.dtype, row.data(), out, desc.cols);
  }
  return bytes;
}

}  // namespace

ProbeModel MakeProbeModel(const ProbeShape& shape) {
  ModelConfig config;
  config.architecture = "llama";
  config.num_layers = shape.num_layers;
  config.hidden_size = shape.hidden_size;
  config.intermediate_size = shape.intermediate_size;
  config.num_heads = shape.num_heads;
  config.num_kv_heads = shape.num_kv_heads;
  config.head_dim = config.rotary_dim = shape.head_dim;
  config.vocab_size = shape.vocab_size;
  config.attention_scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  config.tied_embeddings = true;
  ProbeModel model{.graph = BuildLlamaGraph(config), .table = {}, .handles = {}};
  std::mt19937 random(1);
  for (const WeightInfo& info : model.graph.weights) {
    const DType dtype = info.rows == 1 ? DType::kF32 : shape.weights;
    WeightDesc desc{info.name, dtype, Layout::kGgufRows, info.rows, info.cols, 0};
    desc.row_bytes = static_cast<size_t>(*RowBytes(dtype, static_cast<uint64_t>(info.cols)));
    const auto bytes = RandomRows(desc, random);
    model.handles.push_back(model.table.Add(desc, *bytes, bytes));
  }
  return model;
}

}  // namespace lem
