// CPU kernels: pure functions over raw memory, chosen at run time through one table per instruction set.
//
// No allocation, no errors, noexcept: arguments are checked before dispatch. No threads: a caller splits the work by
// the ranges that each function takes, and no result depends on how it was split.
//
// Numerics, class "i16". Products with quantised weights: a row of activations x is rounded to integers a of 16 bits
// with one scale, max |x| / 32639 (IntegerRows). The weights' codes q are multiplied with them in exact integer sums S,
// one for each group of columns that has one scale d (and minimum) in the GGUF format: 32 columns, or 16 for Q2_K,
// Q3_K, Q6_K. With A, the sum of the group's a, and m, what a code of zero stands for (quant_blocks.h), the groups are
// added in float32 in rising k: s = fma(d, float(S), s), then s = fma(m, float(A), s). The output is s * scale. So
// every instruction that forms exact sums gives the same bits, for every row count and both layouts: one class for
// prompts and answers, from portable code to VNNI.
//
// Products with F32, F16 and BF16 weights ("f32x16"): activations and weights are float32. A dot product over K runs in
// 16 lanes: lane l sums the elements k with k % 16 == l, in rising k, each by one fused multiply-add; elements past K
// count as zero. The lanes are then added as a tree: (l, l+8), (l, l+4), (l, l+2), (l, l+1). AVX2 and AVX-512 give the
// same bits for every row count, as they do for everything else here; portable code differs in the last bits only
// because it may multiply and add without fusing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"
#include "tensor/lanes.h"
#include "tensor/layout.h"

namespace lem {

enum class Isa { kPortable, kAvx2, kAvxVnni, kAvx512, kAvx512Vnni };

// out[t, n] = sum over k of weight[n, k] * in[t, k] (+ bias[n]) for t < num_rows.
struct LinearArgs {
  const std::byte* weight = nullptr;  // [N, K] rows as stored in GGUF, row_bytes apart
  size_t row_bytes = 0;
  DType dtype = DType::kF32;
  int64_t k = 0;              // a whole number of blocks of dtype
  const float* in = nullptr;  // [num_rows, K], rows in_stride floats apart
  int64_t in_stride = 0;
  float* out = nullptr;  // [num_rows, N], rows out_stride floats apart
  int64_t out_stride = 0;
  int64_t num_rows = 0;
  const float* bias = nullptr;  // [N] or null
};

// Rows of activations as integers of 16 bits, in an order that belongs to one kernel table: made by its quantize_row,
// read by its integer_linear. Rows stand in tiles; a tile's rows lie side by side, group after group of 32 columns.
struct IntegerRows {
  static constexpr size_t kRecordBytes = 64;  // 32 columns of one row

  std::byte* records = nullptr;  // [tiles, K / 32, tile_rows, kRecordBytes]
  float* sums32 = nullptr;       // [tiles, K / 32, tile_rows] of the integers of a group; exact
  float* sums16 = nullptr;       // [tiles, K / 16, tile_rows] of half a group
  float* scales = nullptr;       // [num_rows]; NaN for a row with an infinity or a NaN
  int64_t num_rows = 0;
  int64_t k = 0;          // a multiple of 32
  int64_t tile_rows = 0;  // all tiles but the last are full

  // Bytes for any division into tiles.
  static constexpr size_t BufferBytes(int64_t num_rows, int64_t k) {
    const int64_t padded = num_rows + num_rows / 2 + 8;
    return static_cast<size_t>(padded * (2 * k + k / 32 * 4 + k / 16 * 4 + 4));
  }
};

// out[t, n] = sum over k of weight[n, k] * in[t, k] (+ bias[n]), for quantised weights in either layout.
struct IntegerLinearArgs {
  const std::byte* weight = nullptr;  // [N, K]; kLanes16: lines begin at multiples of 64
  Layout layout = Layout::kLanes16;
  size_t row_bytes = 0;  // of kGgufRows
  DType dtype = DType::kQ8_0;
  int64_t n = 0;
  IntegerRows in;
  float* out = nullptr;  // [num_rows, N], rows out_stride floats apart
  int64_t out_stride = 0;
  const float* bias = nullptr;  // [N] or null
};

// Tokens of one KV block; the lane count of the attention kernels.
inline constexpr int64_t kKvBlockTokens = 16;
// Keys of one attention chunk, aligned to absolute positions: softmax partial results are formed per chunk and merged
// in rising order, for any number of query rows, so that prefill chunks and decode steps agree bit for bit.
inline constexpr int64_t kAttentionChunk = 256;

// Largest head of the attention kernels.
inline constexpr int64_t kMaxHeadDim = 512;

// One layer's keys and values of one sequence, in blocks of kKvBlockTokens tokens. Inside a block, from k_offset on:
// keys as float16 [num_kv_heads, head_dim, kKvBlockTokens]; from v_offset on: values as float16
// [num_kv_heads, kKvBlockTokens, head_dim].
struct KvView {
  std::byte* base = nullptr;             // of the pool
  size_t block_bytes = 0;                // from one block to the next
  const int32_t* block_table = nullptr;  // [ceil(context / kKvBlockTokens)] block index by position / kKvBlockTokens
  size_t k_offset = 0, v_offset = 0;     // bytes from a block's start to this layer's keys and values
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;  // a multiple of 16, at most kMaxHeadDim
};

// Causal attention of some query rows of one sequence: row r stands at position first_position + r and sees the
// positions p with p <= its own and, if window > 0, p > its own - window.
struct AttentionArgs {
  KvView kv;
  const float* q = nullptr;  // [num_rows, num_heads, head_dim], rows q_stride floats apart
  int64_t q_stride = 0;
  int64_t num_rows = 0;
  int64_t num_heads = 0;  // a multiple of kv.num_kv_heads
  int64_t first_position = 0;
  int64_t window = 0;    // 0 = all
  float scale = 1.0f;    // multiplies q . k
  float softcap = 0.0f;  // scores become softcap * tanh(score / softcap); 0 = off
  // The chunk that this thread is given next, for the same head; -1 = not known. Its keys are fetched ahead.
  int64_t next_chunk = -1;
};

// Softmax state of one (row, head): max score, sum of exponentials, unnormalised output; laid out as
// [max, sum, out[head_dim]].
inline constexpr int64_t AttentionStateFloats(int64_t head_dim) { return 2 + head_dim; }

struct KernelTable {
  Isa isa;
  const char* name;  // "avx512"
  // Rows of activations that integer_linear multiplies side by side.
  int64_t max_tile_rows;

  // Computes out[:, n] for n in [n_begin, n_end). scratch: LinearScratchFloats(k) floats, 64-byte aligned, of this
  // thread.
  void (*linear)(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) noexcept;
  // Rounds row `row` of `out`, in[0..out.k), to integers.
  void (*quantize_row)(const float* in, const IntegerRows& out, int64_t row) noexcept;
  // Computes out[:, n] for n in [n_begin, n_end); n_begin is a multiple of kLaneRows, and so is n_end unless it is N.
  // scratch: as for linear.
  void (*integer_linear)(const IntegerLinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) noexcept;
  // For measurements: num_groups times the products of one group of kLaneRows rows with max_tile_rows rows of
  // activations, out of the nearest cache and with nothing else. Returns something of the sums.
  int64_t (*integer_products)(int64_t num_groups) noexcept;
  // out[0..k) = one dequantised row.
  void (*dequantize_row)(DType dtype, const std::byte* row, float* out, int64_t k) noexcept;
  // out[i] = in[i] * weight[i] / sqrt(mean(in^2) + eps); in and out may be the same. [n]
  void (*rms_norm)(const float* in, const float* weight, float eps, float* out, int64_t n) noexcept;
  // out[i] += in[i]
  void (*add)(float* out, const float* in, int64_t n) noexcept;
  // out[i] *= factor
  void (*scale)(float* out, float factor, int64_t n) noexcept;
  // out[i] = silu(gate[i]) * up[i]; out may be gate.
  void (*silu_mul)(const float* gate, const float* up, float* out, int64_t n) noexcept;
  // out[i] = gelu(gate[i]) * up[i] with the tanh form of GELU; out may be gate.
  void (*gelu_mul)(const float* gate, const float* up, float* out, int64_t n) noexcept;
  // Rotates one head in place. cos_sin: [rotary_dim / 2] pairs (cos, sin). interleaved: pairs are (2i, 2i+1) as in
  // llama; otherwise (i, i + rotary_dim / 2) as in NeoX. Elements from rotary_dim on stay.
  void (*rope)(float* head, const float* cos_sin, int64_t rotary_dim, bool interleaved) noexcept;
  // Stores one token's keys and values [num_kv_heads, head_dim] at `position` of a sequence, rounded to float16.
  void (*store_kv)(const KvView& kv, int64_t position, const float* k, const float* v) noexcept;
  // For one kv head, query rows [row_begin, row_end) and chunk `chunk_idx` (keys [chunk_idx, chunk_idx + 1) *
  // kAttentionChunk): writes the softmax state of that chunk alone for every (row, head of the group), to
  // state[(row - row_begin) * group + head_in_group]. Rows that see nothing of the chunk get (-inf, 0, 0...).
  // scratch: AttentionScratchFloats() floats.
  void (*attention_chunk)(const AttentionArgs& args, int64_t kv_head, int64_t row_begin, int64_t row_end,
                          int64_t chunk_idx, float* state, float* scratch) noexcept;
  // into = into merged with chunk, both of num_states states; chunks come in rising order.
  void (*attention_merge)(float* into, const float* chunk, int64_t num_states, int64_t head_dim) noexcept;
  // out[head_dim] = state's output / sum.
  void (*attention_finish)(const float* state, float* out, int64_t head_dim) noexcept;
  // max over i, and log(sum(exp(in[i]))), of a row of logits.
  float (*log_sum_exp)(const float* in, int64_t n) noexcept;
  int64_t (*argmax)(const float* in, int64_t n) noexcept;  // the lowest index among equals
  // out[i] = cap * tanh(out[i] / cap)
  void (*softcap)(float* out, float cap, int64_t n) noexcept;
};

// Most rows of weights that one call of `linear` should be given for good cache use, and the scratch it needs.
inline constexpr int64_t kLinearPanelRows = 32;
inline constexpr int64_t LinearScratchFloats(int64_t k) { return kLinearPanelRows * ((k + 15) / 16 * 16) + 512; }
// Most (rows x heads of a group) that one call of attention_chunk may be given, and its scratch: scores, queries, and
// two blocks widened to float32 (or more of smaller heads).
inline constexpr int64_t kAttentionMaxStates = 64;
inline constexpr int64_t kAttentionQueryStride = kMaxHeadDim + 16;
inline constexpr int64_t kAttentionPanelBlocks = 4;
inline constexpr int64_t AttentionScratchFloats() {
  return kAttentionMaxStates * (kAttentionChunk + kAttentionQueryStride) +
         kAttentionPanelBlocks * kMaxHeadDim * kKvBlockTokens + 64;
}

// The rows in `buffer` (64-byte aligned, IntegerRows::BufferBytes long), in tiles of a height that suits a table.
IntegerRows MakeIntegerRows(std::byte* buffer, int64_t num_rows, int64_t k, const KernelTable& table);

// Null if this build or this processor has no such table.
const KernelTable* GetKernelTable(Isa isa);
// The best table of this processor, or a lower one by the environment: LEM_ISA=portable|avx2|avx_vnni|avx512|
// avx512_vnni (an unknown or unavailable name is ignored with a warning). Chosen once.
const KernelTable& BestKernelTable();

}  // namespace lem
