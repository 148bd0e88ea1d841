// AVX-512 decoders: Decoder<type>::Decode(block, sink) calls sink(i, w) for i = 0, 1, ... with w = elements
// [16 i, 16 i + 16) of one block, bit-equal to tensor/dequantize.h.
//
// The 4- and 5-bit types look their values up: a table of all values of a (sub-)block costs one instruction and then
// each 16 elements one permute, whose index operand ignores the bits above the table's size. The types of 2 and 3 bits
// repeat their table for the same reason.
#pragma once

#include <cstddef>

#include "kernels/avx512/simd.h"
#include "tensor/dtype.h"
#include "tensor/quant_blocks.h"

namespace lem {
namespace {

template <DType kType>
struct Decoder;

// Float32 scalars in memory that the compiler must load from there: a broadcast from memory runs on a load port, one
// from a register on the shuffle port, which is the bottleneck of these loops.
template <int kCount>
struct alignas(64) Scalars {
  float f[kCount];
  LEM_INLINE void Pin() { asm("" : "+m"(f)); }
};

LEM_INLINE __m512 Iota() { return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
LEM_INLINE __m128i Load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
// Sixteen bytes as the low parts of sixteen 32-bit lanes.
LEM_INLINE __m512i Widen(const void* p) { return _mm512_cvtepu8_epi32(Load16(p)); }

// The float16 numbers at p, p + 2, p + 4 and p + 6 as scalars.
LEM_INLINE Scalars<4> LoadScales(const void* p) {
  Scalars<4> scales;
  _mm_store_ps(scales.f, _mm_cvtph_ps(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
  scales.Pin();
  return scales;
}

// bits 0-3 of a with bit 4 of b; what is above is not used.
LEM_INLINE __m512i JoinFiveBits(__m512i a, __m512i b) {
  return _mm512_ternarylogic_epi32(_mm512_set1_epi32(15), a, b, 0xCA);
}

template <>
struct Decoder<DType::kF32> {
  static constexpr int64_t kElements = 16, kBytes = 64;
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    sink(0, F32x16{_mm512_loadu_ps(p)});
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) {
    return {_mm512_maskz_loadu_ps(FirstLanes(n), p)};
  }
};

template <>
struct Decoder<DType::kF16> {
  static constexpr int64_t kElements = 16, kBytes = 32;
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    sink(0, F32x16{_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))});
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) {
    return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(FirstLanes(n), p))};
  }
};

template <>
struct Decoder<DType::kBF16> {
  static constexpr int64_t kElements = 16, kBytes = 32;
  static LEM_INLINE F32x16 Extend(__m256i bits) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
  }
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    sink(0, Extend(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) {
    return Extend(_mm256_maskz_loadu_epi16(FirstLanes(n), p));
  }
};

// The two halves of 16 bytes of nibbles through a table of 16 values.
template <typename Sink>
LEM_INLINE void LookUpNibbles(__m512i bytes, __m512 table, Sink&& sink) {
  sink(0, F32x16{_mm512_permutexvar_ps(bytes, table)});
  sink(1, F32x16{_mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), table)});
}

template <>
struct Decoder<DType::kQ4_0> {
  static constexpr int64_t kElements = 32, kBytes = sizeof(BlockQ4_0);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ4_0*>(p);
    const Scalars<4> d = LoadScales(b);
    const __m512 q = _mm512_sub_ps(Iota(), _mm512_set1_ps(8.0f));
    LookUpNibbles(Widen(b->qs), _mm512_mul_ps(_mm512_set1_ps(d.f[0]), q), sink);
  }
};

template <>
struct Decoder<DType::kQ4_1> {
  static constexpr int64_t kElements = 32, kBytes = sizeof(BlockQ4_1);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ4_1*>(p);
    const Scalars<4> dm = LoadScales(b);
    LookUpNibbles(Widen(b->qs), _mm512_fmadd_ps(_mm512_set1_ps(dm.f[0]), Iota(), _mm512_set1_ps(dm.f[1])), sink);
  }
};

// 32 elements of 5 bits: nibbles from `qs`, bit i of the 32 at `qh` is bit 4 of element i; values from two tables
// of 16.
template <typename Sink>
LEM_INLINE void LookUpFiveBits(const uint8_t* qs, const uint8_t* qh, __m512 low, __m512 high, Sink&& sink) {
  const __m512i bytes = Widen(qs);
  uint32_t word;
  __builtin_memcpy(&word, qh, 4);
  const __m512i bits = _mm512_set1_epi32(static_cast<int>(word));
  // Rotate left by (4 - i) mod 32: bit i comes to bit 4.
  const __m512i rotate_low = _mm512_setr_epi32(4, 3, 2, 1, 0, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21);
  const __m512i rotate_high = _mm512_setr_epi32(20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5);
  const __m512i first = JoinFiveBits(bytes, _mm512_rolv_epi32(bits, rotate_low));
  const __m512i second = JoinFiveBits(_mm512_srli_epi32(bytes, 4), _mm512_rolv_epi32(bits, rotate_high));
  sink(0, F32x16{_mm512_permutex2var_ps(low, first, high)});
  sink(1, F32x16{_mm512_permutex2var_ps(low, second, high)});
}

template <>
struct Decoder<DType::kQ5_0> {
  static constexpr int64_t kElements = 32, kBytes = sizeof(BlockQ5_0);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ5_0*>(p);
    const __m512 d = _mm512_set1_ps(LoadScales(b).f[0]);
    const __m512 low = _mm512_mul_ps(d, _mm512_sub_ps(Iota(), _mm512_set1_ps(16.0f)));
    LookUpFiveBits(b->qs, b->qh, low, _mm512_mul_ps(d, Iota()), sink);
  }
};

template <>
struct Decoder<DType::kQ5_1> {
  static constexpr int64_t kElements = 32, kBytes = sizeof(BlockQ5_1);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ5_1*>(p);
    const Scalars<4> dm = LoadScales(b);
    const __m512 d = _mm512_set1_ps(dm.f[0]), m = _mm512_set1_ps(dm.f[1]);
    const __m512 high = _mm512_fmadd_ps(d, _mm512_add_ps(Iota(), _mm512_set1_ps(16.0f)), m);
    LookUpFiveBits(b->qs, b->qh, _mm512_fmadd_ps(d, Iota(), m), high, sink);
  }
};

template <>
struct Decoder<DType::kQ8_0> {
  static constexpr int64_t kElements = 32, kBytes = sizeof(BlockQ8_0);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ8_0*>(p);
    const __m512 d = _mm512_set1_ps(LoadScales(b).f[0]);
    sink(0, F32x16{_mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(Load16(b->qs))))});
    sink(1, F32x16{_mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(Load16(b->qs + 16))))});
  }
};

template <>
struct Decoder<DType::kQ2_K> {
  static constexpr int64_t kElements = 256, kBytes = sizeof(BlockQ2_K);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ2_K*>(p);
    const Scalars<4> d = LoadScales(b->scales + sizeof(BlockQ2_K) - 8);  // d and dmin end the block
    const __m512i packed = Widen(b->scales);
    Scalars<16> scale, min;
    _mm512_store_ps(scale.f, _mm512_mul_ps(_mm512_set1_ps(d.f[2]),
                                           _mm512_cvtepi32_ps(_mm512_and_si512(packed, _mm512_set1_epi32(15)))));
    _mm512_store_ps(min.f, _mm512_mul_ps(_mm512_set1_ps(d.f[3]), _mm512_cvtepi32_ps(_mm512_srli_epi32(packed, 4))));
    scale.Pin(), min.Pin();
    const __m512 q = _mm512_setr_ps(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    for (int half = 0; half < 2; ++half) {
      const __m512i bytes[2] = {Widen(b->qs + 32 * half), Widen(b->qs + 32 * half + 16)};
      for (int i = 0; i < 8; ++i) {
        const int s = 8 * half + i;
        const __m512 table = _mm512_fmsub_ps(_mm512_set1_ps(scale.f[s]), q, _mm512_set1_ps(min.f[s]));
        const __m512i index = _mm512_srli_epi32(bytes[i % 2], static_cast<unsigned>(i / 2 * 2));
        sink(s, F32x16{_mm512_permutexvar_ps(index, table)});
      }
    }
  }
};

template <>
struct Decoder<DType::kQ3_K> {
  static constexpr int64_t kElements = 256, kBytes = sizeof(BlockQ3_K);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ3_K*>(p);
    const Scalars<4> d = LoadScales(b->hmask + sizeof(BlockQ3_K) - 8);  // d ends the block
    Scalars<16> scale;
    _mm512_store_ps(scale.f, _mm512_mul_ps(_mm512_set1_ps(d.f[3]), UnpackScales(b->scales)));
    scale.Pin();
    const __m512 q = _mm512_setr_ps(-4, -3, -2, -1, 0, 1, 2, 3, -4, -3, -2, -1, 0, 1, 2, 3);
    const __m512i high[2] = {Widen(b->hmask), Widen(b->hmask + 16)};
    for (int half = 0; half < 2; ++half) {
      const __m512i low[2] = {Widen(b->qs + 32 * half), Widen(b->qs + 32 * half + 16)};
      for (int i = 0; i < 8; ++i) {
        const int s = 8 * half + i;
        const auto bit = static_cast<unsigned>(s / 2);  // of hmask; to be moved to bit 2
        const __m512i two_bits = _mm512_srli_epi32(low[i % 2], static_cast<unsigned>(i / 2 * 2));
        const __m512i third_bit =
            bit < 2 ? _mm512_slli_epi32(high[i % 2], 2 - bit) : _mm512_srli_epi32(high[i % 2], bit - 2);
        const __m512i index = _mm512_ternarylogic_epi32(_mm512_set1_epi32(3), two_bits, third_bit, 0xCA);
        sink(s, F32x16{_mm512_permutexvar_ps(index, _mm512_mul_ps(_mm512_set1_ps(scale.f[s]), q))});
      }
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
LEM_INLINE Scalars<16> UnpackScaleMins(const void* block, const uint8_t* scales) {
  uint32_t word[3];
  __builtin_memcpy(word, scales, 12);
  const uint32_t kSix = 0x3F3F3F3F, kFour = 0x0F0F0F0F, kTwo = 0x03030303;
  const uint32_t scale_high = (word[2] & kFour) | ((word[0] >> 6) & kTwo) << 4;
  const uint32_t min_high = ((word[2] >> 4) & kFour) | ((word[1] >> 6) & kTwo) << 4;
  const __m128i all = _mm_set_epi32(static_cast<int>(min_high), static_cast<int>(word[1] & kSix),
                                    static_cast<int>(scale_high), static_cast<int>(word[0] & kSix));
  const Scalars<4> d = LoadScales(block);
  const __m512 factor = _mm512_mask_blend_ps(0xFF00, _mm512_set1_ps(d.f[0]), _mm512_set1_ps(d.f[1]));
  Scalars<16> out;
  _mm512_store_ps(out.f, _mm512_mul_ps(factor, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(all))));
  out.Pin();
  return out;
}

template <>
struct Decoder<DType::kQ4_K> {
  static constexpr int64_t kElements = 256, kBytes = sizeof(BlockQ4_K);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ4_K*>(p);
    const Scalars<16> sub = UnpackScaleMins(b, b->scales);
    for (int j = 0; j < 4; ++j) {
      const __m512i bytes[2] = {Widen(b->qs + 32 * j), Widen(b->qs + 32 * j + 16)};
      for (int s = 2 * j; s < 2 * j + 2; ++s) {
        const __m512 table = _mm512_fmsub_ps(_mm512_set1_ps(sub.f[s]), Iota(), _mm512_set1_ps(sub.f[8 + s]));
        for (int i = 0; i < 2; ++i) {
          const __m512i index = s % 2 == 0 ? bytes[i] : _mm512_srli_epi32(bytes[i], 4);
          sink(2 * s + i, F32x16{_mm512_permutexvar_ps(index, table)});
        }
      }
    }
  }
};

template <>
struct Decoder<DType::kQ5_K> {
  static constexpr int64_t kElements = 256, kBytes = sizeof(BlockQ5_K);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ5_K*>(p);
    const Scalars<16> sub = UnpackScaleMins(b, b->scales);
    const __m512i fifth[2] = {Widen(b->qh), Widen(b->qh + 16)};
    const __m512 iota16 = _mm512_add_ps(Iota(), _mm512_set1_ps(16.0f));
    for (int j = 0; j < 4; ++j) {
      const __m512i bytes[2] = {Widen(b->qs + 32 * j), Widen(b->qs + 32 * j + 16)};
      for (int s = 2 * j; s < 2 * j + 2; ++s) {
        const __m512 scale = _mm512_set1_ps(sub.f[s]), min = _mm512_set1_ps(sub.f[8 + s]);
        const __m512 low = _mm512_fmsub_ps(scale, Iota(), min), high = _mm512_fmsub_ps(scale, iota16, min);
        for (int i = 0; i < 2; ++i) {
          const auto bit = static_cast<unsigned>(s);  // of qh; to be moved to bit 4
          const __m512i moved = bit < 4 ? _mm512_slli_epi32(fifth[i], 4 - bit) : _mm512_srli_epi32(fifth[i], bit - 4);
          const __m512i index = JoinFiveBits(s % 2 == 0 ? bytes[i] : _mm512_srli_epi32(bytes[i], 4), moved);
          sink(2 * s + i, F32x16{_mm512_permutex2var_ps(low, index, high)});
        }
      }
    }
  }
};

template <>
struct Decoder<DType::kQ6_K> {
  static constexpr int64_t kElements = 256, kBytes = sizeof(BlockQ6_K);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ6_K*>(p);
    const Scalars<4> d = LoadScales(b->ql + sizeof(BlockQ6_K) - 8);  // d ends the block
    Scalars<16> scale;
    _mm512_store_ps(scale.f,
                    _mm512_mul_ps(_mm512_set1_ps(d.f[3]), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(Load16(b->scales)))));
    scale.Pin();
    const __m512i kLow = _mm512_set1_epi8(15), kHigh = _mm512_set1_epi8(0x30);
    for (int half = 0; half < 2; ++half) {
      const __m512i nibbles = _mm512_loadu_si512(b->ql + 64 * half);
      const __m256i upper = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b->qh + 32 * half));
      // Bytes j = 0, 1 (first) and 2, 3 (second) of the 32-element groups: two bits of `upper`, moved to bits 4-5.
      const __m512i first =
          _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_slli_epi16(upper, 4)), _mm256_slli_epi16(upper, 2), 1);
      const __m512i second = _mm512_inserti64x4(_mm512_castsi256_si512(upper), _mm256_srli_epi16(upper, 2), 1);
      alignas(64) int8_t q[128];
      _mm512_store_si512(q, Join(_mm512_and_si512(nibbles, kLow), first, kHigh));
      _mm512_store_si512(q + 64, Join(_mm512_and_si512(_mm512_srli_epi16(nibbles, 4), kLow), second, kHigh));
      asm("" : "+m"(q));  // as Scalars::Pin: widening from memory spares a shuffle
      for (int i = 0; i < 8; ++i) {
        const __m512 value = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(Load16(q + 16 * i)));
        sink(8 * half + i, F32x16{_mm512_mul_ps(_mm512_set1_ps(scale.f[8 * half + i]), value)});
      }
    }
  }

  // nibble | (bits & mask), minus 32, in bytes.
  static LEM_INLINE __m512i Join(__m512i nibbles, __m512i bits, __m512i mask) {
    return _mm512_sub_epi8(_mm512_ternarylogic_epi32(nibbles, bits, mask, 0xF8), _mm512_set1_epi8(32));
  }
};

}  // namespace
}  // namespace lem
