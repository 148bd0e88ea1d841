// AVX2 decoders of weight blocks, bit-equal to tensor/dequantize.h. For Decoder<type>:
//   Prepare(block, prepared)              unpacks the scales to memory;
//   DecodePart(block, prepared, part, f)  calls f(i, w) for i = 0, 1, ... with w = the part's elements [16 i, 16 i +
//   16).
// Parts let a caller take turns between the blocks of several rows, so that their sums are in flight together.
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

template <int kCount>
struct alignas(32) Scalars {
  float f[kCount];
};
// A scalar in all lanes, from memory even if the compiler knows a register that holds it: a broadcast from memory runs
// on a load port, one from a register on the shuffle port, which is the bottleneck of these loops.
LEM_INLINE __m256 Broadcast(const float& scalar) {
  __m256 all;
  asm("vbroadcastss %1, %0" : "=v"(all) : "m"(scalar));
  return all;
}

LEM_INLINE F32x16 Both(__m256 half) { return {half, half}; }

LEM_INLINE __m128i Load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

// The float16 numbers at p, p + 2, p + 4 and p + 6 as scalars.
LEM_INLINE void LoadScales(const void* p, Scalars<4>& scales) {
  __m128 converted;
  asm("vcvtph2ps %1, %0" : "=v"(converted) : "m"(*static_cast<const uint64_t*>(p)));
  _mm_store_ps(scales.f, converted);
}

// Sixteen signed bytes as float32.
LEM_INLINE F32x16 ToFloat(__m128i bytes) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes)))};
}
LEM_INLINE __m128i LowNibbles(__m128i bytes) { return _mm_and_si128(bytes, _mm_set1_epi8(15)); }
LEM_INLINE __m128i HighNibbles(__m128i bytes) { return LowNibbles(_mm_srli_epi16(bytes, 4)); }

// scale * q - min, as one rounding.
LEM_INLINE F32x16 ScaleAndSubtract(const float& scale, F32x16 q, const float& min) {
  const __m256 s = Broadcast(scale), m = Broadcast(min);
  return {_mm256_fmsub_ps(s, q.lo, m), _mm256_fmsub_ps(s, q.hi, m)};
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
    sink(0, Load(reinterpret_cast<const float*>(p)));
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) {
    return LoadFirst(reinterpret_cast<const float*>(p), n);
  }
};

// The first n numbers of 16 bits at p, then zeros.
struct FirstHalves {
  uint16_t bits[16] = {};
  LEM_INLINE FirstHalves(const std::byte* p, int64_t n) {
    __builtin_memcpy(bits, p, static_cast<size_t>(n) * sizeof(uint16_t));
  }
};

template <>
struct Decoder<DType::kF16> : PlainDecoder {
  static constexpr int64_t kBytes = 32;
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared&, int, Sink&& sink) {
    sink(0, LoadHalf(reinterpret_cast<const uint16_t*>(p)));
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) { return LoadHalf(FirstHalves(p, n).bits); }
};

template <>
struct Decoder<DType::kBF16> : PlainDecoder {
  static constexpr int64_t kBytes = 32;
  static LEM_INLINE F32x16 Extend(const void* p) {
    const auto* halves = static_cast<const __m128i*>(p);
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(halves)), 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(halves + 1)), 16))};
  }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared&, int, Sink&& sink) {
    sink(0, Extend(p));
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) { return Extend(FirstHalves(p, n).bits); }
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

template <>
struct Decoder<DType::kQ4_0> : SmallBlockDecoder<BlockQ4_0> {
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int, Sink&& sink) {
    const F32x16 d = Both(Broadcast(prepared.scales.f[0]));
    const __m128i bytes = Load16(reinterpret_cast<const Block*>(p)->qs), eight = _mm_set1_epi8(8);
    sink(0, d * ToFloat(_mm_sub_epi8(LowNibbles(bytes), eight)));
    sink(1, d * ToFloat(_mm_sub_epi8(HighNibbles(bytes), eight)));
  }
};

template <>
struct Decoder<DType::kQ4_1> : SmallBlockDecoder<BlockQ4_1> {
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int, Sink&& sink) {
    const F32x16 d = Both(Broadcast(prepared.scales.f[0])), m = Both(Broadcast(prepared.scales.f[1]));
    const __m128i bytes = Load16(reinterpret_cast<const Block*>(p)->qs);
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
struct Decoder<DType::kQ5_0> : SmallBlockDecoder<BlockQ5_0> {
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int, Sink&& sink) {
    const auto* b = reinterpret_cast<const Block*>(p);
    const F32x16 d = Both(Broadcast(prepared.scales.f[0]));
    const __m128i bytes = Load16(b->qs), sixteen = _mm_set1_epi8(16);
    sink(0, d * ToFloat(_mm_sub_epi8(_mm_or_si128(LowNibbles(bytes), FifthBits(b->qh, 0)), sixteen)));
    sink(1, d * ToFloat(_mm_sub_epi8(_mm_or_si128(HighNibbles(bytes), FifthBits(b->qh, 16)), sixteen)));
  }
};

template <>
struct Decoder<DType::kQ5_1> : SmallBlockDecoder<BlockQ5_1> {
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int, Sink&& sink) {
    const auto* b = reinterpret_cast<const Block*>(p);
    const F32x16 d = Both(Broadcast(prepared.scales.f[0])), m = Both(Broadcast(prepared.scales.f[1]));
    const __m128i bytes = Load16(b->qs);
    sink(0, Fma(d, ToFloat(_mm_or_si128(LowNibbles(bytes), FifthBits(b->qh, 0))), m));
    sink(1, Fma(d, ToFloat(_mm_or_si128(HighNibbles(bytes), FifthBits(b->qh, 16))), m));
  }
};

template <>
struct Decoder<DType::kQ8_0> : SmallBlockDecoder<BlockQ8_0> {
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int, Sink&& sink) {
    const auto* b = reinterpret_cast<const Block*>(p);
    const F32x16 d = Both(Broadcast(prepared.scales.f[0]));
    sink(0, d * ToFloat(Load16(b->qs)));
    sink(1, d * ToFloat(Load16(b->qs + 16)));
  }
};

// Sixteen scales as bytes times d.
LEM_INLINE void ScaleBytes(__m128i bytes, float d, Scalars<16>& out) { Store(out.f, Set(d) * ToFloat(bytes)); }

// The K types: scales (and minima) of sub-blocks multiplied out to memory; a part is 64 elements.
struct SuperBlockDecoder {
  static constexpr int64_t kElements = 256;
  static constexpr int kParts = 4;
  struct Prepared {
    Scalars<16> scale;
  };
};

template <>
struct Decoder<DType::kQ2_K> : SuperBlockDecoder {
  static constexpr int64_t kBytes = sizeof(BlockQ2_K);
  struct Prepared {
    Scalars<16> scale, min;
  };
  static LEM_INLINE void Prepare(const std::byte* p, Prepared& out) {
    Scalars<4> d;
    LoadScales(p + kBytes - 8, d);  // d and dmin end the block
    const __m128i packed = Load16(reinterpret_cast<const BlockQ2_K*>(p)->scales);
    ScaleBytes(LowNibbles(packed), d.f[2], out.scale);
    ScaleBytes(HighNibbles(packed), d.f[3], out.min);
  }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int part, Sink&& sink) {
    const uint8_t* qs = reinterpret_cast<const BlockQ2_K*>(p)->qs + part / 2 * 32;
    for (int i = 0; i < 4; ++i) {
      const int s = 4 * part + i, shift = part % 2 * 4 + i / 2 * 2;
      const __m128i q = _mm_and_si128(_mm_srli_epi16(Load16(qs + i % 2 * 16), shift), _mm_set1_epi8(3));
      sink(i, ScaleAndSubtract(prepared.scale.f[s], ToFloat(q), prepared.min.f[s]));
    }
  }
};

template <>
struct Decoder<DType::kQ3_K> : SuperBlockDecoder {
  static constexpr int64_t kBytes = sizeof(BlockQ3_K);
  static LEM_INLINE void Prepare(const std::byte* p, Prepared& out) {
    Scalars<4> d;
    LoadScales(p + kBytes - 8, d);  // d ends the block
    ScaleBytes(UnpackScales(reinterpret_cast<const BlockQ3_K*>(p)->scales), d.f[3], out.scale);
  }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int part, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ3_K*>(p);
    for (int i = 0; i < 4; ++i) {
      const int s = 4 * part + i, shift = part % 2 * 4 + i / 2 * 2;
      const __m128i low = Load16(b->qs + part / 2 * 32 + i % 2 * 16), high = Load16(b->hmask + i % 2 * 16);
      const __m128i two_bits = _mm_and_si128(_mm_srli_epi16(low, shift), _mm_set1_epi8(3));
      // Minus 4 where the bit of hmask is clear.
      const __m128i bit = _mm_set1_epi8(static_cast<char>(1 << (s / 2)));
      const __m128i is_clear = _mm_cmpeq_epi8(_mm_and_si128(high, bit), _mm_setzero_si128());
      const __m128i q = _mm_sub_epi8(two_bits, _mm_and_si128(is_clear, _mm_set1_epi8(4)));
      sink(i, Both(Broadcast(prepared.scale.f[s])) * ToFloat(q));
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
LEM_INLINE void UnpackScaleMins(const void* block, const uint8_t* scales, Scalars<16>& out) {
  uint32_t word[3];
  __builtin_memcpy(word, scales, 12);
  const uint32_t kSix = 0x3F3F3F3F, kFour = 0x0F0F0F0F, kTwo = 0x03030303;
  const uint32_t scale_high = (word[2] & kFour) | ((word[0] >> 6) & kTwo) << 4;
  const uint32_t min_high = ((word[2] >> 4) & kFour) | ((word[1] >> 6) & kTwo) << 4;
  const F32x16 all = ToFloat(_mm_set_epi32(static_cast<int>(min_high), static_cast<int>(word[1] & kSix),
                                           static_cast<int>(scale_high), static_cast<int>(word[0] & kSix)));
  Scalars<4> d;
  LoadScales(block, d);
  Store(out.f, F32x16{Broadcast(d.f[0]), Broadcast(d.f[1])} * all);
}

template <>
struct Decoder<DType::kQ4_K> : SuperBlockDecoder {
  static constexpr int64_t kBytes = sizeof(BlockQ4_K);
  static LEM_INLINE void Prepare(const std::byte* p, Prepared& out) {
    UnpackScaleMins(p, reinterpret_cast<const BlockQ4_K*>(p)->scales, out.scale);
  }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int part, Sink&& sink) {
    const uint8_t* qs = reinterpret_cast<const BlockQ4_K*>(p)->qs + 32 * part;
    for (int i = 0; i < 4; ++i) {
      const int s = 2 * part + i / 2;
      const __m128i bytes = Load16(qs + i % 2 * 16);
      const __m128i q = i < 2 ? LowNibbles(bytes) : HighNibbles(bytes);
      sink(i, ScaleAndSubtract(prepared.scale.f[s], ToFloat(q), prepared.scale.f[8 + s]));
    }
  }
};

template <>
struct Decoder<DType::kQ5_K> : SuperBlockDecoder {
  static constexpr int64_t kBytes = sizeof(BlockQ5_K);
  static LEM_INLINE void Prepare(const std::byte* p, Prepared& out) {
    UnpackScaleMins(p, reinterpret_cast<const BlockQ5_K*>(p)->scales, out.scale);
  }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int part, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ5_K*>(p);
    for (int i = 0; i < 4; ++i) {
      const int s = 2 * part + i / 2;
      const __m128i bytes = Load16(b->qs + 32 * part + i % 2 * 16), fifth = Load16(b->qh + i % 2 * 16);
      // Bit s of a byte to bit 4; the shift is by 16-bit lanes, the mask removes what comes from the neighbour.
      const __m128i moved = _mm_slli_epi16(_mm_srli_epi16(fifth, s), 4);
      const __m128i q =
          _mm_or_si128(i < 2 ? LowNibbles(bytes) : HighNibbles(bytes), _mm_and_si128(moved, _mm_set1_epi8(16)));
      sink(i, ScaleAndSubtract(prepared.scale.f[s], ToFloat(q), prepared.scale.f[8 + s]));
    }
  }
};

template <>
struct Decoder<DType::kQ6_K> : SuperBlockDecoder {
  static constexpr int64_t kBytes = sizeof(BlockQ6_K);
  static LEM_INLINE void Prepare(const std::byte* p, Prepared& out) {
    Scalars<4> d;
    LoadScales(p + kBytes - 8, d);  // d ends the block
    ScaleBytes(Load16(reinterpret_cast<const BlockQ6_K*>(p)->scales), d.f[3], out.scale);
  }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte* p, const Prepared& prepared, int part, Sink&& sink) {
    const auto* b = reinterpret_cast<const BlockQ6_K*>(p);
    const int half = part / 2, is_high = part % 2;
    for (int i = 0; i < 4; ++i) {
      // Elements 128 half + 32 j + 16 (i % 2) with j = 2 is_high + i / 2.
      const __m128i bytes = Load16(b->ql + 64 * half + 16 * i), upper = Load16(b->qh + 32 * half + i % 2 * 16);
      const __m128i nibbles = LowNibbles(_mm_srli_epi16(bytes, 4 * is_high));
      // Bits 2j and 2j + 1 of a byte to bits 4 and 5.
      const __m128i moved = _mm_slli_epi16(_mm_srli_epi16(upper, 4 * is_high + i / 2 * 2), 4);
      const __m128i q = _mm_or_si128(nibbles, _mm_and_si128(moved, _mm_set1_epi8(0x30)));
      sink(i, Both(Broadcast(prepared.scale.f[4 * part + i])) * ToFloat(_mm_sub_epi8(q, _mm_set1_epi8(32))));
    }
  }
};

}  // namespace
}  // namespace lem
