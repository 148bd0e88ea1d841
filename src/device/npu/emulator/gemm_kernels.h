// The fast way to the sums of a language model's NPU products, for the device `npu-emu`: the same numbers as the tile
// program, however the work is cut. Weights are packed in panels of 16 output columns.
//
// kInt8: a row of activations and a row of weights are cut into groups of K; each group has one float32 scale in either
// (absolute maximum / 127). Group sums are exact int32; a result is the sum over groups, in rising order, of
// float(group sum) * (scale of activations * scale of weights). kInt4: weights are scale * (0..15) + minimum; the sum
// of the group's activations times the minimum is added to each group. kBf16: products of bfloat16 are exact in float32
// and are added one after the other in rising k. Pure functions; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/aligned.h"

namespace lem {

inline constexpr int64_t kNpuPanel = 16;

// A matrix [N, K] as int8 groups. The memory is the caller's: bytes(), cache-line aligned, zero at first.
struct PackedInt8 {
  int64_t n = 0, k = 0, group = 0;
  int64_t num_groups = 0, group_pairs = 0;  // pairs of k in a group; the last group is filled with zeros
  int8_t* values = nullptr;                 // [panels][groups][pairs][16][2]
  float* scales = nullptr;                  // [panels][groups][16]
  bool has_minimums = false;                // of 4-bit weights
  float* minimums = nullptr;                // [panels][groups][16]

  PackedInt8() = default;
  PackedInt8(int64_t n, int64_t k, int64_t group, bool has_minimums = false);
  size_t value_bytes() const;
  size_t bytes() const;
  void Attach(std::byte* memory);
};
// Row `row` from float32. 4-bit weights are kept exactly where they lie on a grid of at most 16 values a group, as
// those of Q4_0, Q4_1 and Q4_K do.
void PackInt8Row(const PackedInt8& packed, int64_t row, std::span<const float> values);

// The same numbers as plain groups, for other runtimes: values [groups, group], scales and minimums [groups]. Minimums
// are of 4-bit weights; null = int8. What is past K in the last group becomes zero.
void QuantizeWeightRow(std::span<const float> in, int64_t group, int8_t* values, float* scales, float* minimums);

// A matrix [N, K] as bfloat16, memory as above.
struct PackedBf16 {
  int64_t n = 0, k = 0;
  uint16_t* values = nullptr;  // [panels][k][16]

  size_t bytes() const;
  void Attach(std::byte* memory) { values = reinterpret_cast<uint16_t*>(memory); }
};
void PackBf16Row(const PackedBf16& packed, int64_t row, std::span<const float> values);

// Rows of activations ready to be multiplied.
struct Int8Rows {
  int64_t num_rows = 0;
  int64_t row_values = 0;  // groups * pairs * 2
  int64_t num_groups = 0;
  AlignedVector<int16_t> values;  // [rows][row_values], int8 widened
  AlignedVector<float> scales;    // [rows][groups]
  AlignedVector<float> sums;      // [rows][groups] of the int8 values
  void Resize(int64_t rows, const PackedInt8& weight);
};
void QuantizeInt8Row(Int8Rows& rows, int64_t row, const float* in, int64_t k, int64_t group);
// out[i] = in[i] rounded to bfloat16, kept as float32.
void RoundToBf16(const float* in, float* out, int64_t count);

// out[row, n] for the columns of one panel, rows [row_begin, row_end); out rows out_stride floats apart; columns past N
// are not written.
void MultiplyInt8Panel(const PackedInt8& weight, int64_t panel, const Int8Rows& rows, int64_t row_begin,
                       int64_t row_end, float* out, int64_t out_stride);
// in: rows of K bfloat16 values kept as float32.
void MultiplyBf16Panel(const PackedBf16& weight, int64_t panel, const float* in, int64_t row_begin, int64_t row_end,
                       float* out, int64_t out_stride);

}  // namespace lem
