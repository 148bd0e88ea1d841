// Byte layouts of the quantisation blocks of GGUF files (little-endian; ggml's block_q* structs). Packed: a block may
// lie at any address. Plain data.
//
// Notation: d, m, dmin are float16. q is an element's stored integer; "low/high nibble" are bits 0-3 and 4-7 of a byte.
// Every product below is exact in float32 (11 bits of d, at most 8 of a sub-scale, at most 6 of q, together <= 24), so
// an element is rounded at most once, at the subtraction of its minimum: dequantisation gives the same bits with and
// without fused multiply-add.
#pragma once

#include <bit>
#include <cstdint>

namespace lem {

static_assert(std::endian::native == std::endian::little, "GGUF blocks are little-endian");

// NOLINTBEGIN(readability-identifier-naming): the names are those of the types in GGUF.

// Types _0 and _1: blocks of 32. Element i < 16 is in the low nibble of qs[i], element i + 16 in the high nibble.
struct [[gnu::packed]] BlockQ4_0 {  // value = d * (q - 8)
  uint16_t d;
  uint8_t qs[16];
};
struct [[gnu::packed]] BlockQ4_1 {  // value = d * q + m
  uint16_t d;
  uint16_t m;
  uint8_t qs[16];
};
struct [[gnu::packed]] BlockQ5_0 {  // value = d * (q - 16); bit i of qh (a little-endian uint32) is bit 4 of element i
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];
};
struct [[gnu::packed]] BlockQ5_1 {  // value = d * q + m; qh as above
  uint16_t d;
  uint16_t m;
  uint8_t qh[4];
  uint8_t qs[16];
};
struct [[gnu::packed]] BlockQ8_0 {  // value = d * q
  uint16_t d;
  int8_t qs[32];
};

// K types: super-blocks of 256 elements whose sub-blocks have scales (and minima) of 4, 6 or 8 bits.

// Sub-blocks s of 16: value = (d * (scales[s] & 15)) * q - dmin * (scales[s] >> 4).
// Element 128 h + 32 j + l is in bits 2j, 2j + 1 of qs[32 h + l].
struct [[gnu::packed]] BlockQ2_K {
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d;
  uint16_t dmin;
};

// Sub-blocks s of 16: value = (d * (scale_s - 32)) * (q - 4), scale_s of 6 bits: bits 0-3 are the low (s < 8) or high
// nibble of scales[s % 8], bits 4-5 are bits 2 (s / 4), + 1 of scales[8 + s % 4].
// Element 128 h + 32 j + l: bits 0-1 of q are bits 2j, 2j + 1 of qs[32 h + l], bit 2 is bit 4 h + j of hmask[l].
struct [[gnu::packed]] BlockQ3_K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;
};

// Sub-blocks s of 32: value = (d * scale_s) * q - dmin * min_s, of 6 bits each. For s < 4 they are
// bits 0-5 of scales[s] and of scales[s + 4]; else bits 0-3 are the low nibble (scale) and high nibble (min) of
// scales[s + 4], bits 4-5 are bits 6-7 of scales[s - 4] (scale) and of scales[s] (min).
// Elements 64 j + l and 64 j + 32 + l, l < 32, are in the low and high nibble of qs[32 j + l].
struct [[gnu::packed]] BlockQ4_K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};

// As Q4_K; bit s of qh[l] is bit 4 of element 32 s + l.
struct [[gnu::packed]] BlockQ5_K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};

// Sub-blocks s of 16: value = (d * scales[s]) * (q - 32).
// Element 128 h + 32 j + l: bits 0-3 are the low (j < 2) or high nibble of ql[64 h + 32 (j % 2) + l], bits 4-5 are bits
// 2j, 2j + 1 of qh[32 h + l].
struct [[gnu::packed]] BlockQ6_K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
};

// NOLINTEND(readability-identifier-naming)

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockQ2_K) == 84);
static_assert(sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176);
static_assert(sizeof(BlockQ6_K) == 210);

}  // namespace lem
