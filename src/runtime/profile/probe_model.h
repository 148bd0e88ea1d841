// Models made up for measuring devices: llama graphs of any size with weights of any type. Their numbers mean nothing.
#pragma once

#include <vector>

#include "device/device.h"
#include "models/model.h"

namespace lem {

struct ProbeShape {
  DType weights = DType::kQ4_K;
  int32_t num_layers = 2;
  int64_t hidden_size = 1024, intermediate_size = 2816, num_heads = 16, num_kv_heads = 4, head_dim = 64;
  int64_t vocab_size = 8192;
  bool operator==(const ProbeShape&) const = default;
};

struct ProbeModel {
  Graph graph;
  WeightTable table;
  std::vector<WeightHandle> handles;
  BoundGraph bound() const { return {&graph, handles, &table}; }
};

// REQUIRES: CanQuantize(shape.weights), and columns that are whole numbers of its blocks.
ProbeModel MakeProbeModel(const ProbeShape& shape);

}  // namespace lem
