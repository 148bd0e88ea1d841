// The layout kLanes16 of quantised weights: sixteen rows side by side, so that one instruction multiplies four elements
// of each. It holds what the GGUF blocks hold, bit for bit, and can be turned back. Pure functions; thread-safe.
//
// A matrix is a row of strips, a strip is sixteen rows; rows past the last one are zero blocks. A strip is a row of
// tiles, a tile is some columns of the sixteen rows:
//
//   header            what LaneFormat::header_bytes says, a multiple of 64, see below
//   groups            of 32 columns each: planes of 64-byte lines
//
// In a line, byte 4 r + b belongs to row r. A group's codes q (unsigned, the GGUF code with its sign bit turned for
// Q8_0) are in planes, in this order; e = 4 l + b is the column in the group, l in 0..7:
//
//   8 bits  (Q8_0)              8 lines: line l holds q of e
//   4 bits  (Q4, Q5, Q6_K)      4 lines: line i holds bits 0-3 of l = i in its low, of l = i + 4 in its high nibbles
//   2 bits  (Q6_K: bits 4-5;    2 lines: line i holds in bits 2j, 2j + 1 those of l = 4 i + j
//            Q2_K, Q3_K: 0-1)
//   1 bit   (Q5: bit 4;         1 line: bit l is that of l
//            Q3_K: bit 2)
//
// Headers, arrays of sixteen (one a row) in this order:
//   Q4_0, Q5_0, Q8_0   a tile has 2 groups: float16 d[2][16]; an odd last group is followed by a zero one
//   Q4_1, Q5_1         1 group: float16 d[16], m[16]
//   Q4_K, Q5_K         8 groups: float16 d[16], dmin[16]; uint8 scale[8][16], min[8][16] of the sub-blocks
//   Q2_K               8 groups: float16 d[16], dmin[16]; uint8 scale | min << 4 [16][16]
//   Q3_K, Q6_K         8 groups: float16 d[16], 32 bytes of padding; int8 scale[16][16] (Q3_K: less 32)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace lem {

inline constexpr int64_t kLaneRows = 16;
inline constexpr int64_t kLaneGroup = 32;     // columns of a group
inline constexpr size_t kLaneLineBytes = 64;  // of a line of a plane

struct LaneFormat {
  int64_t tile_groups = 0;
  size_t header_bytes = 0;
  size_t group_bytes = 0;

  constexpr size_t tile_bytes() const { return header_bytes + static_cast<size_t>(tile_groups) * group_bytes; }
};

constexpr LaneFormat LaneFormatOf(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return {2, 64, 256};
    case DType::kQ5_0:
      return {2, 64, 320};
    case DType::kQ8_0:
      return {2, 64, 512};
    case DType::kQ4_1:
      return {1, 64, 256};
    case DType::kQ5_1:
      return {1, 64, 320};
    case DType::kQ2_K:
      return {8, 320, 128};
    case DType::kQ3_K:
      return {8, 320, 192};
    case DType::kQ4_K:
      return {8, 320, 256};
    case DType::kQ5_K:
      return {8, 320, 320};
    case DType::kQ6_K:
      return {8, 320, 384};
    default:
      return {};
  }
}

// True for the types that have this layout: all quantised ones.
constexpr bool HasLanes(DType dtype) { return LaneFormatOf(dtype).tile_groups != 0; }

// Bytes of one strip of `k` columns. REQUIRES: HasLanes(dtype), k a whole number of blocks.
constexpr size_t LaneStripBytes(DType dtype, int64_t k) {
  const LaneFormat format = LaneFormatOf(dtype);
  const int64_t groups = k / kLaneGroup;
  return static_cast<size_t>((groups + format.tile_groups - 1) / format.tile_groups) * format.tile_bytes();
}
// Bytes of a matrix [rows, k].
constexpr size_t LaneBytes(DType dtype, int64_t rows, int64_t k) {
  return static_cast<size_t>((rows + kLaneRows - 1) / kLaneRows) * LaneStripBytes(dtype, k);
}

// One strip of `num_rows` <= kLaneRows GGUF rows, row_bytes apart; out is LaneStripBytes long.
void PackLaneStrip(DType dtype, const std::byte* rows, size_t row_bytes, int64_t num_rows, int64_t k, std::byte* out);

// The GGUF blocks of row `row` of a strip; out is RowBytes(dtype, k) long.
void UnpackLaneRow(DType dtype, const std::byte* strip, int64_t row, int64_t k, std::byte* out);

}  // namespace lem
