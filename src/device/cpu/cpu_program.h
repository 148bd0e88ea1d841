// The compiled form of a segment on the CPU: fused steps over numbered buffers.
//
// Fusions: linears that share an input run under one fork/join; a GLU runs in the tasks of its gate and up products; a
// residual add runs in the tasks of the product before it; the rope of q and k and the KV write run with the attention.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "base/status.h"
#include "device/cpu/lane_weights.h"
#include "device/device.h"
#include "kernels/kernels.h"

namespace lem {

// A matrix of float32 activations at run time: an index into the executable's buffers.
using BufferId = int32_t;

struct CpuWeight {
  const std::byte* data = nullptr;
  Layout layout = Layout::kGgufRows;
  size_t row_bytes = 0;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
};

struct CpuEmbed {
  CpuWeight table;
  float scale;
  BufferId out;
};
struct CpuRmsNorm {
  BufferId in, out;
  Rows rows;
  int64_t cols, group;
  float eps;
  const float* weight;  // [group]
};
struct CpuLinearPart {
  CpuWeight weight;
  const float* bias;  // [rows] or null
  BufferId out;
};
// Products that share an input. With glu: exactly two parts (gate, up) and `out` = activation(gate) * up is written to
// parts[0].out. With residual: exactly one part and out = product + residual.
struct CpuLinear {
  BufferId in;
  Rows rows;
  std::vector<CpuLinearPart> parts;
  std::optional<Activation> glu;
  BufferId residual = kNone;
};
struct CpuAttention {
  BufferId q, k, v, out;
  std::optional<int32_t> rope;  // index into the program's rope tables; null = no rotation
  int32_t layer;
  int64_t num_heads, num_kv_heads, head_dim, window;
  float scale, softcap;
};
struct CpuAdd {
  BufferId a, b, out;
  Rows rows;
  int64_t cols;
};
struct CpuSelectOutputs {
  BufferId in, out;
  int64_t cols;
};
struct CpuSoftcap {
  BufferId in, out;
  Rows rows;
  int64_t cols;
  float cap;
};
// Copies each part into its columns of out.
struct CpuConcat {
  struct Part {
    BufferId in;
    int64_t cols;
  };
  std::vector<Part> parts;
  BufferId out;
  Rows rows;
  int64_t cols;  // of out
};
using CpuStep =
    std::variant<CpuEmbed, CpuRmsNorm, CpuLinear, CpuAttention, CpuAdd, CpuSelectOutputs, CpuSoftcap, CpuConcat>;

struct CpuRopeTable {
  int64_t rotary_dim = 0;
  bool interleaved = false;
  std::vector<double> frequencies;  // [rotary_dim / 2] radians per position
};

struct CpuBuffer {
  Rows rows = Rows::kTokens;
  int64_t cols = 0;       // of the widest value that uses it
  ValueId bound = kNone;  // a boundary value, given by the bindings; kNone = memory of the executable
};

struct CpuProgram {
  std::vector<CpuStep> steps;
  std::vector<CpuBuffer> buffers;
  std::vector<CpuRopeTable> ropes;
  KvBlockLayout kv;
  int64_t max_k = 0;  // most columns of any linear's input, for kernel scratch
  std::vector<std::shared_ptr<const LaneMatrix>> lane_weights;  // that the steps point into
};

// Errors: Unimplemented for an op, dtype or shape without a CPU kernel.
// lane_weights: repacks the matrices; null: they are used as they are.
Result<CpuProgram> CompileCpuProgram(const BoundGraph& model, const Segment& segment, LaneWeights* lane_weights);

}  // namespace lem
