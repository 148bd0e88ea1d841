// AVX-512 decoders of weight blocks, bit-equal to tensor/dequantize.h. For Decoder<type>:
//   Prepare(block, prepared)              unpacks scales (and what else is best done for a whole block) to memory;
//   DecodePart(block, prepared, part, f)  calls f(i, w) for i = 0, 1, ... with w = the part's elements [16 i, 16 i +
//   16).
// Parts let a caller take turns between the blocks of several rows, so that their sums are in flight together.
//
// The 4- and 5-bit types look their values up: a table of all values of a (sub-)block costs one or two instructions and
// then each 16 elements one permute, whose index operand ignores the bits above the table's size. The types of 2 and 3
// bits repeat their table for the same reason.
#pragma once

#include <cstddef>

#include "kernels/avx512/simd.h"
#include "tensor/dtype.h"
#include "tensor/quant_blocks.h"

namespace lem {
namespace {

template <DType kType>
struct Decoder;

template <int kCount>
struct alignas(64) Scalars {
  float f[kCount];
};
// A scalar in all lanes, from memory even if the compiler knows a register that holds it: a broadcast from memory runs
// on a load port, one from a register on the shuffle port, which is the bottleneck of these loops.
LEM_INLINE __m512 Broadcast(const float& scalar) {
  __m512 all;
  asm("vbroadcastss %1, %0" : "=v"(all) : "m"(scalar));
  return all;
}

LEM_INLINE __m512 Iota() { return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
LEM_INLINE __m128i Load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
// Sixteen bytes as the low parts of sixteen 32-bit lanes.
LEM_INLINE __m512i Widen(const void* p) { return _mm512_cvtepu8_epi32(Load16(p)); }

// The float16 numbers at p, p + 2, p + 4 and p + 6 as scalars.
LEM_INLINE void LoadScales(const void* p, Scalars<4>& scales) {
  __m128 converted;
  asm("vcvtph2ps %1, %0" : "=v"(converted) : "m"(*static_cast<const uint64_t*>(p)));
  _mm_store_ps(scales.f, converted);
}

// Bits 0-3 of each byte from `low`, the rest from `high`.
LEM_INLINE __m512i JoinNibbles(__m512i low, __m512i high) {
  return _mm512_ternarylogic_epi32(_mm512_set1_epi8(15), low, high, 0xCA);
}
// The 32 bytes at p in both halves.
LEM_INLINE __m512i Twice(const void* p) {
  return _mm512_broadcast_i64x4(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
// Rotation counts for the two halves of 64-bit lanes, so that two sub-blocks take one instruction.
LEM_INLINE __m512i HalfCounts(int low, int high) {
  return _mm512_inserti64x4(_mm512_set1_epi64(low & 63), _mm256_set1_epi64x(high & 63), 1);
}

// F32, F16, BF16: kElements is one vector, and rows may end inside it (DecodeFirst).
struct PlainDecoder {
  static constexpr int64_t kElements = 16;
  static constexpr int kParts = 1;
  struct Prepared {};
  static LEM_INLINE void Prepare(const std::byte*, Prepared&) {}
};

template <>
struct Decoder<DType::kF32> : PlainDecoder {
  static constexpr int64_t kBytes = 64;
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared&, int, Sink&& sink) {
    sink(0, F32x16{_mm512_loadu_ps(p)});
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) {
    return {_mm512_maskz_loadu_ps(FirstLanes(n), p)};
  }
};

template <>
struct Decoder<DType::kF16> : PlainDecoder {
  static constexpr int64_t kBytes = 32;
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared&, int, Sink&& sink) {
    sink(0, F32x16{_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))});
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) {
    return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(FirstLanes(n), p))};
  }
};

template <>
struct Decoder<DType::kBF16> : PlainDecoder {
  static constexpr int64_t kBytes = 32;
  static LEM_INLINE F32x16 Extend(__m256i bits) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
  }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared&, int, Sink&& sink) {
    sink(0, Extend(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) {
    return Extend(_mm256_maskz_loadu_epi16(FirstLanes(n), p));
  }
};

// The types of 32 elements: float16 scales at the start of the block.
template <typename BlockType>
struct SmallBlockDecoder {
  using Block = BlockType;
  static constexpr int64_t kElements = 32, kBytes = sizeof(Block);
  static constexpr int kParts = 1;
  struct Prepared {
    Scalars<4> scales;
  };
  static LEM_INLINE void Prepare(const std::byte* p, Prepared& out) { LoadScales(p, out.scales); }
};

// The two halves of 16 bytes of nibbles through a table of 16 values.
template <typename Sink>
LEM_INLINE void LookUpNibbles(const uint8_t* qs, __m512 table, Sink&& sink) {
  const __m512i bytes = Widen(qs);
  sink(0, F32x16{_mm512_permutexvar_ps(bytes, table)});
  sink(1, F32x16{_mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), table)});
}

template <>
struct Decoder<DType::kQ4_0> : SmallBlockDecoder<BlockQ4_0> {
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int, Sink&& sink) {
    const __m512 q = _mm512_sub_ps(Iota(), _mm512_set1_ps(8.0f));
    LookUpNibbles(reinterpret_cast<const Block*>(p)->qs, _mm512_mul_ps(Broadcast(prepared.scales.f[0]), q), sink);
  }
};

template <>
struct Decoder<DType::kQ4_1> : SmallBlockDecoder<BlockQ4_1> {
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int, Sink&& sink) {
    const __m512 d = Broadcast(prepared.scales.f[0]), m = Broadcast(prepared.scales.f[1]);
    LookUpNibbles(reinterpret_cast<const Block*>(p)->qs, _mm512_fmadd_ps(d, Iota(), m), sink);
  }
};

// 32 elements of 5 bits: nibbles from `qs`, bit i of the 32 at `qh` is bit 4 of element i; values from two tables
// of 16.
template <typename Sink>
LEM_INLINE void LookUpFiveBits(const uint8_t* qs, const uint8_t* qh, __m512 low, __m512 high, Sink&& sink) {
  const __m512i bytes = Widen(qs);
  __m512i bits;
  asm("vpbroadcastd %1, %0" : "=v"(bits) : "m"(*reinterpret_cast<const uint8_t(*)[4]>(qh)));  // as in Broadcast
  // Rotate left by (4 - i) mod 32: bit i comes to bit 4.
  const __m512i rotate_low = _mm512_setr_epi32(4, 3, 2, 1, 0, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21);
  const __m512i rotate_high = _mm512_setr_epi32(20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5);
  const __m512i first = JoinNibbles(bytes, _mm512_rolv_epi32(bits, rotate_low));
  const __m512i second = JoinNibbles(_mm512_srli_epi32(bytes, 4), _mm512_rolv_epi32(bits, rotate_high));
  sink(0, F32x16{_mm512_permutex2var_ps(low, first, high)});
  sink(1, F32x16{_mm512_permutex2var_ps(low, second, high)});
}

template <>
struct Decoder<DType::kQ5_0> : SmallBlockDecoder<BlockQ5_0> {
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int, Sink&& sink) {
    const auto* b = reinterpret_cast<const Block*>(p);
    const __m512 d = Broadcast(prepared.scales.f[0]);
    const __m512 low = _mm512_mul_ps(d, _mm512_sub_ps(Iota(), _mm512_set1_ps(16.0f)));
    LookUpFiveBits(b->qs, b->qh, low, _mm512_mul_ps(d, Iota()), sink);
  }
};

template <>
struct Decoder<DType::kQ5_1> : SmallBlockDecoder<BlockQ5_1> {
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int, Sink&& sink) {
    const auto* b = reinterpret_cast<const Block*>(p);
    const __m512 d = Broadcast(prepared.scales.f[0]), m = Broadcast(prepared.scales.f[1]);
    const __m512 high = _mm512_fmadd_ps(d, _mm512_add_ps(Iota(), _mm512_set1_ps(16.0f)), m);
    LookUpFiveBits(b->qs, b->qh, _mm512_fmadd_ps(d, Iota(), m), high, sink);
  }
};

template <>
struct Decoder<DType::kQ8_0> : SmallBlockDecoder<BlockQ8_0> {
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int, Sink&& sink) {
    const auto* b = reinterpret_cast<const Block*>(p);
    const __m512 d = Broadcast(prepared.scales.f[0]);
    sink(0, F32x16{_mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(Load16(b->qs))))});
    sink(1, F32x16{_mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(Load16(b->qs + 16))))});
  }
};

// The K types: scales (and minima) of sub-blocks multiplied out to memory; a part is 64 elements. Types whose bits lie
// apart have them joined to one byte an element first, 64 at a time.
struct SuperBlockDecoder {
  static constexpr int64_t kElements = 256;
  static constexpr int kParts = 4;
};

template <>
struct Decoder<DType::kQ2_K> : SuperBlockDecoder {
  static constexpr int64_t kBytes = sizeof(BlockQ2_K);
  struct Prepared {
    Scalars<16> scale, min;
    alignas(64) uint8_t q[4][64];  // [j][32 h + l]: element 128 h + 32 j + l in bits 0-1, others above
  };
  static LEM_INLINE void Prepare(const std::byte* p, Prepared& out) {
    const auto* b = reinterpret_cast<const BlockQ2_K*>(p);
    Scalars<4> d;
    LoadScales(p + kBytes - 8, d);  // d and dmin end the block
    const __m512i packed = Widen(b->scales);
    _mm512_store_ps(out.scale.f, _mm512_mul_ps(Broadcast(d.f[2]),
                                               _mm512_cvtepi32_ps(_mm512_and_si512(packed, _mm512_set1_epi32(15)))));
    _mm512_store_ps(out.min.f, _mm512_mul_ps(Broadcast(d.f[3]), _mm512_cvtepi32_ps(_mm512_srli_epi32(packed, 4))));
    const __m512i bytes = _mm512_loadu_si512(b->qs);
    _mm512_store_si512(out.q[0], bytes);
    _mm512_store_si512(out.q[1], _mm512_srli_epi32(bytes, 2));
    _mm512_store_si512(out.q[2], _mm512_srli_epi32(bytes, 4));
    _mm512_store_si512(out.q[3], _mm512_srli_epi32(bytes, 6));
  }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte*, const Prepared& prepared, int part, Sink&& sink) {
    const __m512 q = _mm512_setr_ps(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    for (int i = 0; i < 4; ++i) {
      const int s = 4 * part + i, half = part / 2, j = part % 2 * 2 + i / 2;
      const __m512 table = _mm512_fmsub_ps(Broadcast(prepared.scale.f[s]), q, Broadcast(prepared.min.f[s]));
      sink(i, F32x16{_mm512_permutexvar_ps(Widen(&prepared.q[j][32 * half + i % 2 * 16]), table)});
    }
  }
};

template <>
struct Decoder<DType::kQ3_K> : SuperBlockDecoder {
  static constexpr int64_t kBytes = sizeof(BlockQ3_K);
  struct Prepared {
    Scalars<16> scale;
    alignas(64) uint8_t q[4][64];  // as of Q2_K, three bits
  };
  static LEM_INLINE void Prepare(const std::byte* p, Prepared& out) {
    const auto* b = reinterpret_cast<const BlockQ3_K*>(p);
    Scalars<4> d;
    LoadScales(p + kBytes - 8, d);  // d ends the block
    _mm512_store_ps(out.scale.f, _mm512_mul_ps(Broadcast(d.f[3]), UnpackScales(b->scales)));
    const __m512i low = _mm512_loadu_si512(b->qs), high = Twice(b->hmask);
    for (int j = 0; j < 4; ++j) {
      // Bit j (first half) or 4 + j (second half) of hmask to bit 2.
      const __m512i third = _mm512_rolv_epi64(high, HalfCounts(2 - j, 2 - (4 + j)));
      const __m512i two = _mm512_srli_epi32(low, static_cast<unsigned>(2 * j));
      _mm512_store_si512(out.q[j], _mm512_ternarylogic_epi32(_mm512_set1_epi8(3), two, third, 0xCA));
    }
  }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte*, const Prepared& prepared, int part, Sink&& sink) {
    const __m512 q = _mm512_setr_ps(-4, -3, -2, -1, 0, 1, 2, 3, -4, -3, -2, -1, 0, 1, 2, 3);
    for (int i = 0; i < 4; ++i) {
      const int s = 4 * part + i, half = part / 2, j = part % 2 * 2 + i / 2;
      const __m512 table = _mm512_mul_ps(Broadcast(prepared.scale.f[s]), q);
      sink(i, F32x16{_mm512_permutexvar_ps(Widen(&prepared.q[j][32 * half + i % 2 * 16]), table)});
    }
  }

  // The sixteen 6-bit scales minus 32.
  static LEM_INLINE __m512 UnpackScales(const uint8_t* scales) {
    uint64_t nibbles;
    uint32_t upper;
    __builtin_memcpy(&nibbles, scales, 8);
    __builtin_memcpy(&upper, scales + 8, 4);
    const uint64_t kLow = 0x0F0F0F0F0F0F0F0F, kTwo = 0x0303030303030303;
    const uint64_t upper_low = (static_cast<uint64_t>(upper >> 2) << 32) | upper;  // byte s: bits 0-1 of scale s
    const uint64_t upper_high = (static_cast<uint64_t>(upper >> 6) << 32) | (upper >> 4);
    const uint64_t first = (nibbles & kLow) | (upper_low & kTwo) << 4;
    const uint64_t second = ((nibbles >> 4) & kLow) | (upper_high & kTwo) << 4;
    const __m128i all = _mm_set_epi64x(static_cast<int64_t>(second), static_cast<int64_t>(first));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepu8_epi32(all), _mm512_set1_epi32(32)));
  }
};

// The scales [0, 8) and minima [8, 16) of a Q4_K or Q5_K block, multiplied by d and dmin.
LEM_INLINE void UnpackScaleMins(const void* block, const uint8_t* scales, Scalars<16>& out) {
  uint32_t word[3];
  __builtin_memcpy(word, scales, 12);
  const uint32_t kSix = 0x3F3F3F3F, kFour = 0x0F0F0F0F, kTwo = 0x03030303;
  const uint32_t scale_high = (word[2] & kFour) | ((word[0] >> 6) & kTwo) << 4;
  const uint32_t min_high = ((word[2] >> 4) & kFour) | ((word[1] >> 6) & kTwo) << 4;
  const __m128i all = _mm_set_epi32(static_cast<int>(min_high), static_cast<int>(word[1] & kSix),
                                    static_cast<int>(scale_high), static_cast<int>(word[0] & kSix));
  Scalars<4> d;
  LoadScales(block, d);
  const __m512 factor = _mm512_mask_blend_ps(0xFF00, Broadcast(d.f[0]), Broadcast(d.f[1]));
  _mm512_store_ps(out.f, _mm512_mul_ps(factor, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(all))));
}

template <>
struct Decoder<DType::kQ4_K> : SuperBlockDecoder {
  static constexpr int64_t kBytes = sizeof(BlockQ4_K);
  struct Prepared {
    Scalars<16> sub;
  };
  static LEM_INLINE void Prepare(const std::byte* p, Prepared& out) {
    UnpackScaleMins(p, reinterpret_cast<const BlockQ4_K*>(p)->scales, out.sub);
  }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int part, Sink&& sink) {
    const uint8_t* qs = reinterpret_cast<const BlockQ4_K*>(p)->qs + 32 * part;
    const __m512i bytes[2] = {Widen(qs), Widen(qs + 16)};
    const float(&sub)[16] = prepared.sub.f;
    const __m512 low = _mm512_fmsub_ps(Broadcast(sub[2 * part]), Iota(), Broadcast(sub[2 * part + 8]));
    const __m512 high = _mm512_fmsub_ps(Broadcast(sub[2 * part + 1]), Iota(), Broadcast(sub[2 * part + 9]));
    sink(0, F32x16{_mm512_permutexvar_ps(bytes[0], low)});
    sink(1, F32x16{_mm512_permutexvar_ps(bytes[1], low)});
    sink(2, F32x16{_mm512_permutexvar_ps(_mm512_srli_epi32(bytes[0], 4), high)});
    sink(3, F32x16{_mm512_permutexvar_ps(_mm512_srli_epi32(bytes[1], 4), high)});
  }
};

template <>
struct Decoder<DType::kQ5_K> : SuperBlockDecoder {
  static constexpr int64_t kBytes = sizeof(BlockQ5_K);
  struct Prepared {
    Scalars<16> sub;
    alignas(64) uint8_t q[256];  // element i in bits 0-4, others above
  };
  static LEM_INLINE void Prepare(const std::byte* p, Prepared& out) {
    const auto* b = reinterpret_cast<const BlockQ5_K*>(p);
    UnpackScaleMins(p, b->scales, out.sub);
    const __m512i fifth = Twice(b->qh);
    for (int j = 0; j < 4; ++j) {
      const __m512i nibbles = _mm512_srlv_epi64(Twice(b->qs + 32 * j), HalfCounts(0, 4));
      // Bit 2j (first half) or 2j + 1 (second half) to bit 4.
      const __m512i bit = _mm512_rolv_epi64(fifth, HalfCounts(4 - 2 * j, 4 - (2 * j + 1)));
      _mm512_store_si512(out.q + 64 * j, JoinNibbles(nibbles, bit));
    }
  }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte*, const Prepared& prepared, int part, Sink&& sink) {
    const __m512 iota16 = _mm512_add_ps(Iota(), _mm512_set1_ps(16.0f));
    for (int i = 0; i < 4; ++i) {
      const int s = 2 * part + i / 2;
      const __m512 scale = Broadcast(prepared.sub.f[s]), min = Broadcast(prepared.sub.f[8 + s]);
      const __m512 low = _mm512_fmsub_ps(scale, Iota(), min), high = _mm512_fmsub_ps(scale, iota16, min);
      sink(i, F32x16{_mm512_permutex2var_ps(low, Widen(prepared.q + 64 * part + 16 * i), high)});
    }
  }
};

template <>
struct Decoder<DType::kQ6_K> : SuperBlockDecoder {
  static constexpr int64_t kBytes = sizeof(BlockQ6_K);
  struct Prepared {
    Scalars<16> scale;
    alignas(64) int8_t q[256];  // element i, less 32
  };
  static LEM_INLINE void Prepare(const std::byte* p, Prepared& out) {
    const auto* b = reinterpret_cast<const BlockQ6_K*>(p);
    Scalars<4> d;
    LoadScales(p + kBytes - 8, d);  // d ends the block
    const __m512 scale = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(Load16(b->scales)));
    _mm512_store_ps(out.scale.f, _mm512_mul_ps(Broadcast(d.f[3]), scale));
    for (int half = 0; half < 2; ++half) {
      const __m512i nibbles = _mm512_loadu_si512(b->ql + 64 * half), upper = Twice(b->qh + 32 * half);
      // Bits 2j and 2j + 1 to bits 4 and 5, for j = 0 and 1, then 2 and 3.
      const __m512i first = _mm512_rolv_epi64(upper, HalfCounts(4, 2));
      const __m512i second = _mm512_rolv_epi64(upper, HalfCounts(0, -2));
      int8_t* q = out.q + 128 * half;
      _mm512_store_si512(q, Minus32(JoinNibbles(nibbles, first)));
      _mm512_store_si512(q + 64, Minus32(JoinNibbles(_mm512_srli_epi32(nibbles, 4), second)));
    }
  }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte*, const Prepared& prepared, int part, Sink&& sink) {
    for (int i = 0; i < 4; ++i) {
      const int s = 4 * part + i;
      const __m512 q = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(Load16(prepared.q + 16 * s)));
      sink(i, F32x16{_mm512_mul_ps(Broadcast(prepared.scale.f[s]), q)});
    }
  }
  static LEM_INLINE __m512i Minus32(__m512i bytes) {
    return _mm512_sub_epi8(_mm512_and_si512(bytes, _mm512_set1_epi8(63)), _mm512_set1_epi8(32));
  }
};

}  // namespace
}  // namespace lem
