// Small random models as bare graphs, for tests of devices and of the executor.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "device/device.h"

namespace lem {

struct TinyGraph {
  Graph graph;
  WeightTable table;
  std::vector<WeightHandle> handles;
  BoundGraph bound() const { return {&graph, handles, &table}; }
};

struct TinyGraphShape {
  int64_t num_heads = 4, num_kv_heads = 2, head_dim = 32;
  int64_t window = 0;
  float softcap = 0;
  bool gemma_like = false;  // head norms, post norms, GELU, embedding scale, logit cap
  int32_t num_layers = 2;
  DType matrices = DType::kF32;  // or a type of blocks of 32
};

inline constexpr int32_t kTinyGraphVocab = 50;

// Weights with random values of a size that keeps activations near 1.
TinyGraph MakeTinyGraph(const TinyGraphShape& shape);

// Random ids of its vocabulary, the same for the same count.
std::vector<int32_t> TinyTokens(size_t count);

// Sum of squared errors over the sum of squares of `expected`.
double NormalisedError(std::span<const float> found, std::span<const float> expected);

// Equal down to the bits, so also in signs of zeros and in NaNs.
bool SameBits(std::span<const float> a, std::span<const float> b);

}  // namespace lem
