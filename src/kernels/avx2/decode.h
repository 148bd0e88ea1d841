// AVX2 decoders: Decoder<type>::Decode(block, sink) calls sink(i, w) for i = 0, 1, ... with w = elements
// [16 i, 16 i + 16) of one block, bit-equal to tensor/dequantize.h.
//
// All quantised types go the same way: the integers of 16 elements as bytes, widened to 32 bits, converted to float32,
// then one multiply(-add) with the scale (and minimum) of the sub-block.
#pragma once

#include <cstddef>

#include "kernels/avx2/simd.h"
#include "tensor/dtype.h"
#include "tensor/quant_blocks.h"

namespace lem {
namespace {

template <DType kType>
struct Decoder;

// Float32 scalars in memory that the compiler must load from there: a broadcast from memory runs on a load port, one
// from a register on the shuffle port.
template <int kCount>
struct alignas(32) Scalars {
  float f[kCount];
  LEM_INLINE void Pin() { asm("" : "+m"(f)); }
};

LEM_INLINE __m128i Load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

// The float16 numbers at p, p + 2, p + 4 and p + 6 as scalars.
LEM_INLINE Scalars<4> LoadScales(const void* p) {
  Scalars<4> scales;
  _mm_store_ps(scales.f, _mm_cvtph_ps(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
  scales.Pin();
  return scales;
}

// Sixteen signed bytes as float32.
LEM_INLINE F32x16 ToFloat(__m128i bytes) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes)))};
}
LEM_INLINE __m128i LowNibbles(__m128i bytes) { return _mm_and_si128(bytes, _mm_set1_epi8(15)); }
LEM_INLINE __m128i HighNibbles(__m128i bytes) { return LowNibbles(_mm_srli_epi16(bytes, 4)); }

// scale * q - min, as one rounding.
LEM_INLINE F32x16 ScaleAndSubtract(float scale, F32x16 q, float min) {
  const __m256 s = _mm256_set1_ps(scale), m = _mm256_set1_ps(min);
  return {_mm256_fmsub_ps(s, q.lo, m), _mm256_fmsub_ps(s, q.hi, m)};
}

template <>
struct Decoder<DType::kF32> {
  static constexpr int64_t kElements = 16, kBytes = 64;
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    sink(0, Load(reinterpret_cast<const float*>(p)));
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) {
    return LoadFirst(reinterpret_cast<const float*>(p), n);
  }
};

template <>
struct Decoder<DType::kF16> {
  static constexpr int64_t kElements = 16, kBytes = 32;
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    sink(0, LoadHalf(reinterpret_cast<const uint16_t*>(p)));
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) {
    uint16_t first[16] = {};
    __builtin_memcpy(first, p, static_cast<size_t>(n) * sizeof(uint16_t));
    return LoadHalf(first);
  }
};

template <>
struct Decoder<DType::kBF16> {
  static constexpr int64_t kElements = 16, kBytes = 32;
  static LEM_INLINE __m256 Extend(__m128i bits) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    sink(0, F32x16{Extend(Load16(p)), Extend(Load16(p + 16))});
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) {
    uint16_t first[16] = {};
    __builtin_memcpy(first, p, static_cast<size_t>(n) * sizeof(uint16_t));
    return {Extend(Load16(first)), Extend(Load16(first + 8))};
  }
};

template <>
struct Decoder<DType::kQ4_0> {
  static constexpr int64_t kElements = 32, kBytes = sizeof(BlockQ4_0);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ4_0*>(p);
    const F32x16 d = Set(LoadScales(b).f[0]);
    const __m128i bytes = Load16(b->qs), eight = _mm_set1_epi8(8);
    sink(0, d * ToFloat(_mm_sub_epi8(LowNibbles(bytes), eight)));
    sink(1, d * ToFloat(_mm_sub_epi8(HighNibbles(bytes), eight)));
  }
};

template <>
struct Decoder<DType::kQ4_1> {
  static constexpr int64_t kElements = 32, kBytes = sizeof(BlockQ4_1);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ4_1*>(p);
    const Scalars<4> dm = LoadScales(b);
    const F32x16 d = Set(dm.f[0]), m = Set(dm.f[1]);
    const __m128i bytes = Load16(b->qs);
    sink(0, Fma(d, ToFloat(LowNibbles(bytes)), m));
    sink(1, Fma(d, ToFloat(HighNibbles(bytes)), m));
  }
};

// Bits [first, first + 16) of the 32 at qh: 16 in byte i where bit first + i is set, else 0.
LEM_INLINE __m128i FifthBits(const uint8_t* qh, int first) {
  uint16_t word;
  __builtin_memcpy(&word, qh + first / 8, 2);
  const __m128i spread =
      _mm_shuffle_epi8(_mm_cvtsi32_si128(word), _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
  const __m128i bit = _mm_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m128i is_set = _mm_cmpeq_epi8(_mm_and_si128(spread, bit), bit);
  return _mm_and_si128(is_set, _mm_set1_epi8(16));
}

template <>
struct Decoder<DType::kQ5_0> {
  static constexpr int64_t kElements = 32, kBytes = sizeof(BlockQ5_0);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ5_0*>(p);
    const F32x16 d = Set(LoadScales(b).f[0]);
    const __m128i bytes = Load16(b->qs), sixteen = _mm_set1_epi8(16);
    sink(0, d * ToFloat(_mm_sub_epi8(_mm_or_si128(LowNibbles(bytes), FifthBits(b->qh, 0)), sixteen)));
    sink(1, d * ToFloat(_mm_sub_epi8(_mm_or_si128(HighNibbles(bytes), FifthBits(b->qh, 16)), sixteen)));
  }
};

template <>
struct Decoder<DType::kQ5_1> {
  static constexpr int64_t kElements = 32, kBytes = sizeof(BlockQ5_1);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ5_1*>(p);
    const Scalars<4> dm = LoadScales(b);
    const F32x16 d = Set(dm.f[0]), m = Set(dm.f[1]);
    const __m128i bytes = Load16(b->qs);
    sink(0, Fma(d, ToFloat(_mm_or_si128(LowNibbles(bytes), FifthBits(b->qh, 0))), m));
    sink(1, Fma(d, ToFloat(_mm_or_si128(HighNibbles(bytes), FifthBits(b->qh, 16))), m));
  }
};

template <>
struct Decoder<DType::kQ8_0> {
  static constexpr int64_t kElements = 32, kBytes = sizeof(BlockQ8_0);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ8_0*>(p);
    const F32x16 d = Set(LoadScales(b).f[0]);
    sink(0, d * ToFloat(Load16(b->qs)));
    sink(1, d * ToFloat(Load16(b->qs + 16)));
  }
};

// Sixteen scales as bytes times d.
LEM_INLINE Scalars<16> ScaleBytes(__m128i bytes, float d) {
  Scalars<16> out;
  Store(out.f, Set(d) * ToFloat(bytes));
  out.Pin();
  return out;
}

template <>
struct Decoder<DType::kQ2_K> {
  static constexpr int64_t kElements = 256, kBytes = sizeof(BlockQ2_K);
  template <typename Sink>
  static LEM_INLINE void Decode(const std::byte* p, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ2_K*>(p);
    const Scalars<4> d = LoadScales(p + sizeof(BlockQ2_K) - 8);  // d and dmin end the block
    const __m128i packed = Load16(b->scales);
    const Scalars<16> scale = ScaleBytes(LowNibbles(packed), d.f[2]), min = ScaleBytes(HighNibbles(packed), d.f[3]);
    for (int half = 0; half < 2; ++half) {
      const __m128i bytes[2] = {Load16(b->qs + 32 * half), Load16(b->qs + 32 * half + 16)};
      for (int i = 0; i < 8; ++i) {
        const int s = 8 * half + i;
        const __m128i q = _mm_and_si128(_mm_srli_epi16(bytes[i % 2], i / 2 * 2), _mm_set1_epi8(3));
        sink(s, ScaleAndSubtract(scale.f[s], ToFloat(q), min.f[s]));
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
    const Scalars<4> d = LoadScales(p + sizeof(BlockQ3_K) - 8);  // d ends the block
    const Scalars<16> scale = ScaleBytes(UnpackScales(b->scales), d.f[3]);
    const __m128i high[2] = {Load16(b->hmask), Load16(b->hmask + 16)};
    for (int half = 0; half < 2; ++half) {
      const __m128i low[2] = {Load16(b->qs + 32 * half), Load16(b->qs + 32 * half + 16)};
      for (int i = 0; i < 8; ++i) {
        const int s = 8 * half + i;
        const __m128i two_bits = _mm_and_si128(_mm_srli_epi16(low[i % 2], i / 2 * 2), _mm_set1_epi8(3));
        // Minus 4 where the bit of hmask is clear.
        const __m128i bit = _mm_set1_epi8(static_cast<char>(1 << (s / 2)));
        const __m128i is_clear = _mm_cmpeq_epi8(_mm_and_si128(high[i % 2], bit), _mm_setzero_si128());
        const __m128i q = _mm_sub_epi8(two_bits, _mm_and_si128(is_clear, _mm_set1_epi8(4)));
        sink(s, Set(scale.f[s]) * ToFloat(q));
      }
    }
  }

  // The sixteen 6-bit scales minus 32.
  static LEM_INLINE __m128i UnpackScales(const uint8_t* scales) {
    uint64_t nibbles;
    uint32_t upper;
    __builtin_memcpy(&nibbles, scales, 8);
    __builtin_memcpy(&upper, scales + 8, 4);
    const uint64_t kLow = 0x0F0F0F0F0F0F0F0F, kTwo = 0x0303030303030303;
    const uint64_t upper_low = (static_cast<uint64_t>(upper >> 2) << 32) | upper;  // byte s: bits 0-1 of scale s
    const uint64_t upper_high = (static_cast<uint64_t>(upper >> 6) << 32) | (upper >> 4);
    const uint64_t first = (nibbles & kLow) | (upper_low & kTwo) << 4;
    const uint64_t second = ((nibbles >> 4) & kLow) | (upper_high & kTwo) << 4;
    return _mm_sub_epi8(_mm_set_epi64x(static_cast<int64_t>(second), static_cast<int64_t>(first)), _mm_set1_epi8(32));
  }
};

// The scales [0, 8) and minima [8, 16) of a Q4_K or Q5_K block, multiplied by d and dmin.
LEM_INLINE Scalars<16> UnpackScaleMins(const void* block, const uint8_t* scales) {
  uint32_t word[3];
  __builtin_memcpy(word, scales, 12);
  const uint32_t kSix = 0x3F3F3F3F, kFour = 0x0F0F0F0F, kTwo = 0x03030303;
  const uint32_t scale_high = (word[2] & kFour) | ((word[0] >> 6) & kTwo) << 4;
  const uint32_t min_high = ((word[2] >> 4) & kFour) | ((word[1] >> 6) & kTwo) << 4;
  const F32x16 all = ToFloat(_mm_set_epi32(static_cast<int>(min_high), static_cast<int>(word[1] & kSix),
                                           static_cast<int>(scale_high), static_cast<int>(word[0] & kSix)));
  const Scalars<4> d = LoadScales(block);
  Scalars<16> out;
  Store(out.f, F32x16{_mm256_set1_ps(d.f[0]), _mm256_set1_ps(d.f[1])} * all);
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
    for (int s = 0; s < 8; ++s) {
      for (int i = 0; i < 2; ++i) {
        const __m128i bytes = Load16(b->qs + 32 * (s / 2) + 16 * i);
        const __m128i q = s % 2 == 0 ? LowNibbles(bytes) : HighNibbles(bytes);
        sink(2 * s + i, ScaleAndSubtract(sub.f[s], ToFloat(q), sub.f[8 + s]));
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
    for (int s = 0; s < 8; ++s) {
      for (int i = 0; i < 2; ++i) {
        const __m128i bytes = Load16(b->qs + 32 * (s / 2) + 16 * i), fifth = Load16(b->qh + 16 * i);
        const __m128i nibbles = s % 2 == 0 ? LowNibbles(bytes) : HighNibbles(bytes);
        // Bit s of a byte to bit 4; the shift is by 16-bit lanes, the mask removes what comes from the neighbour.
        const __m128i moved = s < 4 ? _mm_slli_epi16(fifth, 4 - s) : _mm_srli_epi16(fifth, s - 4);
        const __m128i q = _mm_or_si128(nibbles, _mm_and_si128(moved, _mm_set1_epi8(16)));
        sink(2 * s + i, ScaleAndSubtract(sub.f[s], ToFloat(q), sub.f[8 + s]));
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
    const Scalars<4> d = LoadScales(p + sizeof(BlockQ6_K) - 8);  // d ends the block
    const Scalars<16> scale = ScaleBytes(Load16(b->scales), d.f[3]);
    for (int s = 0; s < 16; ++s) {
      const int half = s / 8, j = s % 8 / 2, i = s % 2;
      const __m128i bytes = Load16(b->ql + 64 * half + 32 * (j % 2) + 16 * i);
      const __m128i upper = Load16(b->qh + 32 * half + 16 * i);
      const __m128i nibbles = j < 2 ? LowNibbles(bytes) : HighNibbles(bytes);
      // Bits 2j and 2j + 1 of a byte to bits 4 and 5.
      const __m128i moved = j < 2 ? _mm_slli_epi16(upper, 4 - 2 * j) : _mm_srli_epi16(upper, 2 * j - 4);
      const __m128i q = _mm_or_si128(nibbles, _mm_and_si128(moved, _mm_set1_epi8(0x30)));
      sink(s, Set(scale.f[s]) * ToFloat(_mm_sub_epi8(q, _mm_set1_epi8(32))));
    }
  }
};

}  // namespace
}  // namespace lem
