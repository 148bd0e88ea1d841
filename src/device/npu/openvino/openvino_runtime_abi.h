// What the program and its plug-in over OpenVINO say to each other: plain structs and one table of functions. No
// exception, no C++ library type and no memory to free crosses it, so either side may be built by another compiler.
//
// A static graph is described op by op; every value in it has the same, fixed number of rows. Matrices are constants in
// the caller's memory. Everything a description points to is only read; weights must stay valid as long as the graph
// that was compiled from them, all else during the call. Functions of one device may be called from several threads;
// one graph runs one inference at a time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lem::openvino {

// Raised with every change of this file; a plug-in of another number is refused.
inline constexpr uint32_t kAbiVersion = 1;
inline constexpr const char* kEntryPoint = "lem_openvino_runtime";

enum class Code : int32_t {
  kOk = 0,
  kRefused,     // the runtime cannot do this
  kFailed,      // it tried and failed
  kDeviceLost,  // and will not work again
};

struct Error {
  Code code;
  char text[1024];  // ends in a zero
};

// How a matrix [rows, cols] lies in memory, row by row.
enum class WeightType : int32_t {
  kF32,   // [rows, cols]
  kBf16,  // [rows, cols]
  kInt8,  // int8 [rows, groups, group]; scales [rows, groups]
  kInt4,  // 0..15, two a byte, the first in the low half [rows, groups, group / 2]; scales and zero points [rows,
          // groups]
};

// kInt8, kInt4: weight = scale * (value - zero point); columns past `cols` in the last group are zeros.
struct Weight {
  const char* name;
  WeightType type;
  int64_t rows, cols;
  int64_t group, groups;
  const void* values;
  const float* scales;
  const float* zero_points;  // of kInt4
};

enum class OpKind : int32_t {
  kRmsNorm,    // inputs: x; weight; group, eps
  kLinear,     // inputs: x; weight, bias or -1
  kRope,       // inputs: x; rope, head_dim
  kAttention,  // inputs: q, k, v; num_heads, scale, softcap, mask
  kSiluGlu,    // inputs: gate, up
  kGeluGlu,    // inputs: gate, up; the tanh form
  kAdd,        // inputs: a, b
  kSoftcap,    // inputs: x; softcap
  kConcat,     // inputs: the parts, side by side
};

struct Op {
  OpKind kind;
  int32_t out;  // value
  const int32_t* inputs;
  int32_t num_inputs;
  int32_t weight, bias;  // index of a weight, or -1
  int32_t rope, mask;    // index of a rotation, of a mask
  int64_t group, head_dim, num_heads;
  float eps, scale, softcap;
};

struct Rope {
  int64_t rotary_dim;
  int32_t interleaved;  // pairs (2i, 2i + 1), else (i, i + rotary_dim / 2)
};

struct Graph {
  const char* name;
  int64_t rows;
  int64_t context;  // positions of the past that attention reads
  int64_t kv_heads, head_dim;
  int32_t num_values;
  const int64_t* cols;  // [num_values]
  int32_t num_weights;
  const Weight* weights;
  int32_t num_ropes;
  const Rope* ropes;
  int32_t num_masks;
  int32_t num_ops;
  const Op* ops;
  int32_t num_inputs;
  const int32_t* inputs;  // values
  int32_t num_outputs;
  const int32_t* outputs;  // values
};

// The tensors of one inference, in the order of the description, all contiguous.
struct Inference {
  const float* const* inputs;  // [num_inputs] [rows, cols]
  float* const* outputs;       // [num_outputs] [rows, cols]
  const float* const* ropes;   // [num_ropes] cosines [rows, rotary_dim / 2], then sines
  const float* const* masks;   // [num_masks] [rows, context + rows], added to scores: of the past, then of these rows
  const uint16_t* const* past_keys;    // [attention ops] float16 [kv_heads, head_dim, context]
  const uint16_t* const* past_values;  // [attention ops] float16 [kv_heads, context, head_dim]
};

struct OpenOptions {
  const char* device;        // "NPU" or "CPU"; empty: an NPU where there is one, else the CPU
  const char* cache_folder;  // of compiled graphs; empty = none
  int32_t num_threads;       // of the CPU
};

struct DeviceDescription {
  char device[16];        // "NPU", "CPU"
  char full_name[256];    // as the runtime says
  char runtime[128];      // "2026.4.1-..."
  char properties[1024];  // "NPU_DRIVER_VERSION=... ", for people
  char no_npu[512];       // why it is not the NPU, if it is not; else empty
};

struct CompiledDescription {
  int32_t loaded_from_cache;
  double seconds;
};

struct DeviceHandle;
struct GraphHandle;

struct Runtime {
  uint32_t abi_version;
  // What Open would open; opens nothing.
  Code (*describe)(const OpenOptions* options, DeviceDescription* out, Error* error);
  Code (*open)(const OpenOptions* options, DeviceHandle** out, DeviceDescription* description, Error* error);
  void (*close)(DeviceHandle* device);  // after its graphs
  Code (*compile)(DeviceHandle* device, const Graph* graph, GraphHandle** out, CompiledDescription* description,
                  Error* error);
  void (*release)(GraphHandle* graph);
  Code (*infer)(GraphHandle* graph, const Inference* tensors, Error* error);
};

// The plug-in's only symbol. The table stays valid; null if it has no table of this number.
using EntryPoint = const Runtime* (*)(uint32_t abi_version);

}  // namespace lem::openvino
