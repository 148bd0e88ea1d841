// A segment of a model with every shape fixed: what a static-graph accelerator compiles. Data only, with no mention of
// one vendor's runtime: the emulator runs it and predicts its cost, other runtimes may turn it into their own form.
//
// Rows are padded to the bucket, contexts to a context bucket; rows past a step's own are computed and ignored, keys
// past a sequence's own are masked. Activations between ops are float32.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "device/npu/emulator/gemm_program.h"
#include "graph/plan.h"
#include "tensor/dtype.h"

namespace lem {

// How a matrix is multiplied. kInt8: groups of int8 with float32 scales, activations quantised the same way, row by
// row; kInt4: the same activations with weights of 4 bits, a scale and a minimum a group, unpacked by the cores; kBf16:
// both factors bfloat16, float32 sums.
enum class NpuPrecision : uint8_t { kInt8, kInt4, kBf16 };
inline constexpr size_t kNumNpuPrecisions = 3;
std::string_view NpuPrecisionName(NpuPrecision precision);

// kMix: see PrecisionOf.
enum class NpuPrecisionMode : uint8_t { kMix, kInt8, kInt4, kBf16 };
std::string_view NpuPrecisionModeName(NpuPrecisionMode mode);  // "mix"
// Errors: InvalidArgument naming the modes there are.
Result<NpuPrecisionMode> ParseNpuPrecisionMode(std::string_view name);

struct NpuCompileOptions {
  NpuPrecisionMode mode = NpuPrecisionMode::kMix;
  int64_t scale_group = 32;  // elements of K that share a scale
};

// From LEM_NPU_PRECISION=mix|int8|int4|bf16; another value is ignored with a warning.
NpuCompileOptions NpuCompileOptionsFromEnvironment();

// The rule of the mix: a weight is kept in the smallest form that holds what its type in the model file says. Q4_0,
// Q4_1 and Q4_K fit int4 exactly; other types of at most 8 bits an element fit int8 with groups of 32; the rest is
// bf16.
NpuPrecision PrecisionOf(const NpuCompileOptions& options, DType stored);

inline constexpr int64_t kNpuTokenBuckets[] = {1, 4, 8, 16, 32, 128, 512};
// The smallest bucket that holds so many rows; the largest if none does.
int64_t NpuTokenBucket(int64_t num_tokens);
// Contexts are padded to powers of two from 256 on.
int64_t NpuContextBucket(int64_t context);

// Where a value lives while the graph runs: an offset in the graph's activation memory, or the caller's own memory.
struct StaticValue {
  ValueId value = kNone;
  int64_t rows = 0, cols = 0;
  bool boundary = false;
  size_t offset_bytes = 0;  // of values that are not on the boundary
};

struct NpuCost {
  double seconds = 0;
  double joules = 0;
  double macs = 0;
  double dram_bytes = 0;
  NpuCost& operator+=(const NpuCost& other);
};

struct StaticOp {
  int32_t op_idx = 0;  // in the model's graph
  NpuCost cost;        // attention: without what its context costs
  // Of linear ops.
  NpuPrecision precision = NpuPrecision::kInt8;
  GemmConfig gemm;
};

struct StaticGraph {
  const Graph* model = nullptr;
  Segment segment;
  int64_t tokens = 0, outputs = 0;  // the bucket
  std::vector<StaticOp> ops;
  std::vector<StaticValue> values;  // by ValueId of the model
  size_t activation_bytes = 0;
  // Multiplications of one row by precision (their order is NpuPrecision's): the shares of the mix.
  std::array<double, kNumNpuPrecisions> macs{};
  double ShareOf(NpuPrecision precision) const;
  struct Attention {
    int64_t num_heads = 0, window = 0;
  };
  std::vector<Attention> attentions;
  int64_t kv_bits = 16;

  // Of one run, dispatch excluded: `sequences` are packed into it, each with so many rows at the end of its context.
  struct Load {
    int64_t rows = 0, context = 0;
  };
  NpuCost Cost(const NpuGeneration& generation, std::span<const Load> sequences) const;
};

struct StaticGraphOptions {
  NpuCompileOptions compile;
  std::span<const DType> weight_types;  // [weights] as stored in the model file; empty: as if all were Q8_0
  // Of published stacks that are predicted, not of ours: bits of a weight in DRAM, and of a key or value.
  int64_t weight_bits = 0;
  int64_t kv_bits = 16;
};

// A segment for a bucket: its ops, their precisions, and where values lie; no tiles and no costs. `model` must outlive
// the graph.
StaticGraph LayOutStaticGraph(const Graph& model, const Segment& segment, int64_t tokens, int64_t outputs,
                              const StaticGraphOptions& options);

// The same with tiles and costs for a generation. Errors: Unimplemented, ResourceExhausted (what does not fit, with the
// number). `model` must outlive the graph.
Result<StaticGraph> PlanStaticGraph(const NpuGeneration& generation, const Graph& model, const Segment& segment,
                                    int64_t tokens, int64_t outputs, const StaticGraphOptions& options);

}  // namespace lem
