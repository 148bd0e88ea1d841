// The kernels of the Vulkan device as typed calls: each Record* function picks a pipeline and a grid and records one
// dispatch. Arguments are device addresses; row counts come from the step header at run time (vulkan_step.h), so that a
// command buffer is recorded once for a bucket.
//
// All activations are float32, row-major; strides are in floats. REQUIRES, for every activation: the address is 16-byte
// aligned and the stride a multiple of 4 (the kernels of single elements take any multiple of 4 bytes). Weights are
// rows of GGUF blocks: address and row_bytes are multiples of the largest power of two, up to 8, that divides the
// type's block. The 7 bytes after a weight's last one must be readable (every VulkanBuffer and every import is padded
// so).
//
// Numerics: float32 throughout (except where a member says otherwise). The bits of a result row depend on that row's
// data alone: not on the number of rows in the call, on the rows beside it, or on the device's subgroup size. They may
// differ between LinearMethod::kMatVec and kMatMul.
//
// Not thread-safe: one recorder, one thread.
#pragma once

#include <cstdint>

#include "device/vulkan/vulkan_recorder.h"
#include "device/vulkan/vulkan_step.h"
#include "graph/graph.h"
#include "tensor/dtype.h"

namespace lem {

// out[t] = scale * dequantised row token_ids[t] of the table, t < T. Token ids are below num_rows.
struct VulkanEmbed {
  DeviceAddress table = 0;
  uint64_t row_bytes = 0;
  DType dtype = DType::kF32;
  uint32_t cols = 0;
  float scale = 1.0f;
  DeviceAddress out = 0;  // [T, cols]
  uint32_t out_stride = 0;
};
void RecordEmbed(VulkanRecorder& recorder, const VulkanEmbed& args);

enum class LinearMethod : uint8_t {
  kMatVec,     // few rows: streams the weights
  kMatMul,     // many rows: tiles in shared memory
  kMatMulF16,  // as kMatMul with both factors rounded to float16, sums in float32; needs fp16 arithmetic
};

// out[t, n] = sum over k of weight[n, k] * in[t, k] (+ bias[n]) (+ residual[t, n])
struct VulkanLinear {
  DeviceAddress weight = 0;  // [n, k]
  uint64_t row_bytes = 0;
  DType dtype = DType::kF32;
  uint32_t n = 0;
  uint32_t k = 0;  // a whole number of blocks of dtype
  DeviceAddress in = 0;
  uint32_t in_stride = 0;
  DeviceAddress out = 0;  // may be columns of a wider matrix; may be `residual`
  uint32_t out_stride = 0;
  DeviceAddress bias = 0;  // float32 [n] or 0
  DeviceAddress residual = 0;
  uint32_t residual_stride = 0;
  Rows rows = Rows::kTokens;
  LinearMethod method = LinearMethod::kMatVec;
};
void RecordLinear(VulkanRecorder& recorder, const VulkanLinear& args);

// out = in / sqrt(mean(in^2) + eps) * weight over groups of `group` columns. out may be in.
struct VulkanRmsNorm {
  DeviceAddress in = 0;
  uint32_t in_stride = 0;
  DeviceAddress weight = 0;  // float32 [group]
  uint32_t cols = 0;         // a multiple of group
  uint32_t group = 0;
  float eps = 0;
  DeviceAddress out = 0;
  uint32_t out_stride = 0;
  Rows rows = Rows::kTokens;
};
void RecordRmsNorm(VulkanRecorder& recorder, const VulkanRmsNorm& args);

// out = a + b. out may be a or b.
struct VulkanAdd {
  DeviceAddress a = 0, b = 0, out = 0;
  uint32_t a_stride = 0, b_stride = 0, out_stride = 0;
  uint32_t cols = 0;
  Rows rows = Rows::kTokens;
};
void RecordAdd(VulkanRecorder& recorder, const VulkanAdd& args);

// out = activation(gate) * up. out may be gate or up.
struct VulkanGlu {
  DeviceAddress gate = 0, up = 0, out = 0;
  uint32_t gate_stride = 0, up_stride = 0, out_stride = 0;
  uint32_t cols = 0;
  Activation activation = Activation::kSilu;
  Rows rows = Rows::kTokens;
};
void RecordGlu(VulkanRecorder& recorder, const VulkanGlu& args);

// out = cap * tanh(in / cap). out may be in.
struct VulkanSoftcap {
  DeviceAddress in = 0, out = 0;
  uint32_t in_stride = 0, out_stride = 0;
  uint32_t cols = 0;
  float cap = 1.0f;
  Rows rows = Rows::kOutputs;
};
void RecordSoftcap(VulkanRecorder& recorder, const VulkanSoftcap& args);

// out[t, 0..cols) = in[t, 0..cols): moves columns between matrices of different strides.
struct VulkanCopyColumns {
  DeviceAddress in = 0, out = 0;
  uint32_t in_stride = 0, out_stride = 0;
  uint32_t cols = 0;
  Rows rows = Rows::kTokens;
};
void RecordCopyColumns(VulkanRecorder& recorder, const VulkanCopyColumns& args);

// out[o] = in[output_rows[o]], o < O
struct VulkanSelectRows {
  DeviceAddress in = 0, out = 0;
  uint32_t in_stride = 0, out_stride = 0;
  uint32_t cols = 0;
};
void RecordSelectRows(VulkanRecorder& recorder, const VulkanSelectRows& args);

// Rotates every head of in [T, num_heads * head_dim]; columns from rotary_dim on of a head are copied. out may be in.
struct VulkanRope {
  DeviceAddress in = 0, out = 0;
  uint32_t in_stride = 0, out_stride = 0;
  DeviceAddress cos_sin = 0;  // float [T, rotary_dim / 2, 2]
  uint32_t num_heads = 0;
  uint32_t head_dim = 0;
  uint32_t rotary_dim = 0;
  bool interleaved = false;  // pairs (2i, 2i+1), else (i, i + rotary_dim / 2)
};
void RecordRope(VulkanRecorder& recorder, const VulkanRope& args);

// Where one layer's keys and values lie in a KV block (layout: KvView in kernels.h). Blocks are 16-byte aligned, the
// offsets multiples of 16.
struct VulkanKvLayer {
  uint32_t k_offset = 0, v_offset = 0;  // bytes from a block's start
  uint32_t num_kv_heads = 0;
  uint32_t head_dim = 0;  // a multiple of 16, at most kMaxHeadDim
};

// Stores the step's keys (rotated first if cos_sin is given) and values, rounded to float16 (nearest even).
struct VulkanStoreKv {
  VulkanKvLayer kv;
  DeviceAddress k = 0, v = 0;  // [T, num_kv_heads * head_dim]
  uint32_t k_stride = 0, v_stride = 0;
  DeviceAddress cos_sin = 0;  // float [T, rotary_dim / 2, 2]; 0: keys are stored as they are
  uint32_t rotary_dim = 0;
  bool interleaved = false;
};
void RecordStoreKv(VulkanRecorder& recorder, const VulkanStoreKv& args);

// Causal attention: row t sees the positions p <= its own and, if window > 0, p > its own - window. The step's own keys
// and values must have been stored.
struct VulkanAttention {
  VulkanKvLayer kv;
  DeviceAddress q = 0, out = 0;  // [T, num_heads * head_dim]
  uint32_t q_stride = 0, out_stride = 0;
  uint32_t num_heads = 0;  // a multiple of kv.num_kv_heads
  uint32_t window = 0;     // 0 = all
  float scale = 1.0f;      // of q . k
  float softcap = 0.0f;    // 0 = off
};
void RecordAttention(VulkanRecorder& recorder, const VulkanAttention& args);
// Rows of a VulkanAttentionTile that the attention kernel takes at most in a bucket of so many tokens: what
// VulkanStepShape::attention_tile_rows must be (the least over the layers if they differ).
int64_t AttentionTileRows(int64_t max_tokens, int64_t num_heads, int64_t num_kv_heads, int64_t head_dim);

}  // namespace lem
