// Products with quantised weights for one instruction set: included by its integer_linear.cc after its integer_lanes.h.
// Numerics: kernels.h; layout of weights: tensor/lanes.h.
//
// A register holds kLanes rows of weights, so a strip of sixteen is one part or two. For each tile of activations, each
// group of the strip is unpacked in registers and multiplied with all rows of the tile at once. A strip stays in L1
// while the tiles pass by; unpacking it anew for each tile costs less than loading it unpacked would.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include "kernels/generic/inline.h"
#include "tensor/lanes.h"

namespace lem {
namespace {

// The largest integer: 127 * 256 + 127, so that both bytes of a = 256 * high + low have signs of their own.
constexpr float kMaxInteger = 32639.0f;
// Rows whose largest element is below count as zero: the scale's reciprocal would overflow.
constexpr float kSmallestMax = 0x1p-100f;

// Memory arrives at about 20 GB/s a core after some 120 ns under load; measured best from 2 to 8 KB.
constexpr size_t kLanePrefetchBytes = 4096;

constexpr auto kRecordBytes = static_cast<int64_t>(IntegerRows::kRecordBytes);
constexpr int kStripParts = static_cast<int>(kLaneRows) / kLanes;

// --- weights ---

template <DType kType>
struct Scales;  // kCount scales a group

// One float16 scale a group, two groups a tile. kZero: the code that stands for zero.
template <int kZero>
struct PlainScales {
  static constexpr int kCount = 1;
  LEM_INLINE void Load(const std::byte*, int64_t) {}
  LEM_INLINE void Get(const std::byte* header, int64_t g, int64_t lane, F32* d, F32* m) const {
    d[0] = LoadHalfs(header + 32 * g + 2 * lane);
    m[0] = Multiply(d[0], SetFloat(-kZero));
  }
};
template <>
struct Scales<DType::kQ4_0> : PlainScales<8> {};
template <>
struct Scales<DType::kQ5_0> : PlainScales<16> {};
template <>
struct Scales<DType::kQ8_0> : PlainScales<128> {};

struct PlainScalesAndMinima {
  static constexpr int kCount = 1;
  LEM_INLINE void Load(const std::byte*, int64_t) {}
  LEM_INLINE void Get(const std::byte* header, int64_t, int64_t lane, F32* d, F32* m) const {
    d[0] = LoadHalfs(header + 2 * lane);
    m[0] = LoadHalfs(header + 32 + 2 * lane);
  }
};
template <>
struct Scales<DType::kQ4_1> : PlainScalesAndMinima {};
template <>
struct Scales<DType::kQ5_1> : PlainScalesAndMinima {};

struct SixBitScalesAndMinima {
  static constexpr int kCount = 1;
  F32 d, minus_dmin;
  LEM_INLINE void Load(const std::byte* header, int64_t lane) {
    d = LoadHalfs(header + 2 * lane);
    minus_dmin = Multiply(LoadHalfs(header + 32 + 2 * lane), SetFloat(-1.0f));
  }
  LEM_INLINE void Get(const std::byte* header, int64_t g, int64_t lane, F32* scale, F32* m) const {
    scale[0] = Multiply(d, LoadUnsignedBytes(header + 64 + 16 * g + lane));
    m[0] = Multiply(minus_dmin, LoadUnsignedBytes(header + 192 + 16 * g + lane));
  }
};
template <>
struct Scales<DType::kQ4_K> : SixBitScalesAndMinima {};
template <>
struct Scales<DType::kQ5_K> : SixBitScalesAndMinima {};

template <>
struct Scales<DType::kQ2_K> {
  static constexpr int kCount = 2;
  F32 d, minus_dmin;
  LEM_INLINE void Load(const std::byte* header, int64_t lane) {
    d = LoadHalfs(header + 2 * lane);
    minus_dmin = Multiply(LoadHalfs(header + 32 + 2 * lane), SetFloat(-1.0f));
  }
  LEM_INLINE void Get(const std::byte* header, int64_t g, int64_t lane, F32* scale, F32* m) const {
    for (int64_t s = 0; s < 2; ++s) {
      F32 low, high;
      LoadNibbles(header + 64 + 16 * (2 * g + s) + lane, &low, &high);
      scale[s] = Multiply(d, low);
      m[s] = Multiply(minus_dmin, high);
    }
  }
};

template <int kZero>
struct SignedByteScales {
  static constexpr int kCount = 2;
  F32 d;
  LEM_INLINE void Load(const std::byte* header, int64_t lane) { d = LoadHalfs(header + 2 * lane); }
  LEM_INLINE void Get(const std::byte* header, int64_t g, int64_t lane, F32* scale, F32* m) const {
    for (int64_t s = 0; s < 2; ++s) {
      scale[s] = Multiply(d, LoadSignedBytes(header + 64 + 16 * (2 * g + s) + lane));
      m[s] = Multiply(scale[s], SetFloat(-kZero));
    }
  }
};
template <>
struct Scales<DType::kQ3_K> : SignedByteScales<4> {};
template <>
struct Scales<DType::kQ6_K> : SignedByteScales<32> {};

constexpr int CodeBits(DType dtype) {
  switch (dtype) {
    case DType::kQ2_K:
      return 2;
    case DType::kQ3_K:
      return 3;
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ4_K:
      return 4;
    case DType::kQ6_K:
      return 6;
    case DType::kQ8_0:
      return 8;
    default:
      return 5;
  }
}

// x shifted by kBits to the left, or to the right if that is negative.
template <int kBits>
LEM_INLINE Codes Shift(Codes x) {
  if constexpr (kBits > 0) return ShiftLeft<kBits>(x);
  if constexpr (kBits < 0) return ShiftRight<-kBits>(x);
  return x;
}
template <typename Body, int... kIndexes>
LEM_INLINE void ForEachIndex(std::integer_sequence<int, kIndexes...>, Body&& body) {
  (body.template operator()<kIndexes>(), ...);
}

// The codes of lines kFirst to kFirst + kLines - 1 of a group (0 to 7; or 0 to 3, or 4 to 7): byte 4 r + b of w[l] is
// that of column 4 (kFirst + l) + b of row lane + r. A half's codes need fewer registers.
template <int kBits, int kFirst, int kLines>
LEM_INLINE void UnpackCodes(const std::byte* group, int64_t lane, Codes (&w)[kLines]) {
  const std::byte* p = group + 4 * lane;
  constexpr auto kEach = std::make_integer_sequence<int, kLines>();
  if constexpr (kBits == 8) {
    for (int64_t l = 0; l < kLines; ++l) w[l] = LoadLine(p + 64 * (kFirst + l));
  }
  if constexpr (kBits >= 4 && kBits < 8) {
    for (int64_t i = 0; i < 4; ++i) {
      const Codes x = LoadLine(p + 64 * i);
      if constexpr (kFirst == 0) w[i] = And(x, 0x0F0F0F0F);
      if constexpr (kFirst + kLines == 8) w[i + kLines - 4] = And(ShiftRight<4>(x), 0x0F0F0F0F);
    }
  }
  if constexpr (kBits == 5) {
    const Codes bits = LoadLine(p + 256);
    ForEachIndex(
        kEach, [&]<int kL>() LEM_INLINE_LAMBDA { w[kL] = OrMasked(w[kL], Shift<4 - kFirst - kL>(bits), 0x10101010); });
  }
  if constexpr (kBits == 6 || kBits <= 3) {
    Codes pairs[2];
    for (int64_t i = kFirst / 4; i < (kFirst + kLines) / 4; ++i)
      pairs[i] = LoadLine(p + (kBits == 6 ? 256 : 0) + 64 * i);
    ForEachIndex(kEach, [&]<int kL>() LEM_INLINE_LAMBDA {
      constexpr int kPair = 2 * (kL % 4);
      const Codes x = pairs[(kFirst + kL) / 4];
      w[kL] = kBits == 6 ? OrMasked(w[kL], Shift<4 - kPair>(x), 0x30303030) : And(Shift<-kPair>(x), 0x03030303);
    });
  }
  if constexpr (kBits == 3) {
    const Codes bits = LoadLine(p + 128);
    ForEachIndex(
        kEach, [&]<int kL>() LEM_INLINE_LAMBDA { w[kL] = OrMasked(w[kL], Shift<2 - kFirst - kL>(bits), 0x04040404); });
  }
}

// --- products ---

// acc[t] += the products of the columns under scale kScale of a group with rows t < kTokens of a tile.
template <int kBits, int kScale, int kScales, int kTokens>
LEM_INLINE void MultiplyGroup(const std::byte* group, int64_t lane, const F32* d, const F32* m,
                              const std::byte* records, const float* sums, int64_t tile_rows, F32 (&acc)[kTokens]) {
  constexpr int kLines = 8 / kScales;
  Codes w[kLines];
  UnpackCodes<kBits, kScale * kLines>(group, lane, w);
  I32 dots[kTokens];
  Dots<kLines, kTokens>(w, records, kScale * kLines, dots);
  for (int64_t t = 0; t < kTokens; ++t) {
    acc[t] = Fma(d[kScale], ToFloat(dots[t]), acc[t]);
    acc[t] = Fma(m[kScale], SetFloat(sums[kScale * tile_rows + t]), acc[t]);
  }
}

// Writes the outputs of rows `lane`... of a strip at column n: those that the matrix has.
LEM_INLINE void StoreOutputs(const IntegerLinearArgs& args, int64_t token, int64_t n, F32 acc) {
  float* out = args.out + token * args.out_stride + n;
  F32 value = Multiply(acc, SetFloat(args.in.scales[token]));
  if (n + kLanes <= args.n) {
    if (args.bias != nullptr) value = Add(value, LoadFloats(args.bias + n));
    StoreFloats(out, value);
    return;
  }
  float values[kLanes];
  StoreFloats(values, value);
  for (int64_t i = 0; i < args.n - n; ++i) out[i] = args.bias != nullptr ? values[i] + args.bias[n + i] : values[i];
}

// A strip times one tile. The last one may have fewer rows than kTokens: then what is in the others' place is
// multiplied, too, and dropped.
template <DType kType, int kTokens>
LEM_NOINLINE void MultiplyTile(const IntegerLinearArgs& args, const std::byte* strip, int64_t n, int64_t tile) {
  constexpr LaneFormat kFormat = LaneFormatOf(kType);
  using S = Scales<kType>;
  const int64_t num_groups = args.in.k / kLaneGroup, tile_rows = args.in.tile_rows;
  for (int64_t part = 0; part < kStripParts; ++part) {
    const int64_t lane = part * kLanes;
    if (n + lane >= args.n) return;
    const bool comes_from_memory = part == 0 && tile == 0;
    const std::byte* records = args.in.records + tile * num_groups * tile_rows * kRecordBytes;
    const float* sums = (S::kCount == 1 ? args.in.sums32 : args.in.sums16) + tile * num_groups * tile_rows * S::kCount;
    const std::byte* header = strip;
    F32 acc[kTokens];
    for (int64_t t = 0; t < kTokens; ++t) acc[t] = SetFloat(0.0f);
    for (int64_t first = 0; first < num_groups; first += kFormat.tile_groups, header += kFormat.tile_bytes()) {
      const int64_t count = num_groups - first < kFormat.tile_groups ? num_groups - first : kFormat.tile_groups;
      S scales;
      scales.Load(header, lane);
      if (comes_from_memory) {
        for (size_t line = 0; line < kFormat.header_bytes; line += 64) {
          __builtin_prefetch(header + kLanePrefetchBytes + line);
        }
      }
      const std::byte* group = header + kFormat.header_bytes;
      for (int64_t g = 0; g < count; ++g, group += kFormat.group_bytes) {
        if (comes_from_memory) {
          for (size_t line = 0; line < kFormat.group_bytes; line += 64) {
            __builtin_prefetch(group + kLanePrefetchBytes + line);
          }
        }
        F32 d[S::kCount], m[S::kCount];
        scales.Get(header, g, lane, d, m);
        ForEachIndex(std::make_integer_sequence<int, S::kCount>(), [&]<int kScale>() LEM_INLINE_LAMBDA {
          MultiplyGroup<CodeBits(kType), kScale, S::kCount>(group, lane, d, m, records, sums, tile_rows, acc);
        });
        records += tile_rows * kRecordBytes;
        sums += tile_rows * S::kCount;
      }
    }
    const int64_t left = args.in.num_rows - tile * tile_rows;
    for (int64_t t = 0; t < kTokens; ++t) {
      if (t < left) StoreOutputs(args, tile * tile_rows + t, n + lane, acc[t]);
    }
  }
}

template <DType kType, int kIndex>
LEM_INLINE bool MultiplyTileOfHeight(int64_t height, const IntegerLinearArgs& args, const std::byte* strip, int64_t n,
                                     int64_t tile) {
  if constexpr (kTileHeights[kIndex] <= kMaxTokens) {
    if (height == kTileHeights[kIndex]) MultiplyTile<kType, kTileHeights[kIndex]>(args, strip, n, tile);
  }
  return height == kTileHeights[kIndex];
}

template <DType kType, int... kIndexes>
LEM_INLINE void MultiplyStrip(const IntegerLinearArgs& args, const std::byte* strip, int64_t n,
                              std::integer_sequence<int, kIndexes...>) {
  const int64_t tile_rows = args.in.tile_rows;
  for (int64_t tile = 0; tile * tile_rows < args.in.num_rows; ++tile) {
    const int64_t left = args.in.num_rows - tile * tile_rows;
    const int64_t height = TileHeightOf(left < tile_rows ? left : tile_rows);
    (void)(MultiplyTileOfHeight<kType, kIndexes>(height, args, strip, n, tile) || ...);
  }
}

template <DType kType>
void LinearOf(const IntegerLinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) {
  const size_t strip_bytes = LaneStripBytes(kType, args.in.k);
  for (int64_t n = n_begin; n < n_end; n += kLaneRows) {
    const std::byte* strip = args.weight + static_cast<size_t>(n / kLaneRows) * strip_bytes;
    if (args.layout == Layout::kGgufRows) {
      auto* packed = reinterpret_cast<std::byte*>(scratch);
      PackLaneStrip(kType, args.weight + static_cast<size_t>(n) * args.row_bytes, args.row_bytes,
                    args.n - n < kLaneRows ? args.n - n : kLaneRows, args.in.k, packed);
      strip = packed;
    }
    MultiplyStrip<kType>(args, strip, n, std::make_integer_sequence<int, std::size(kTileHeights)>());
  }
}

}  // namespace

template <>
void IntegerOps<kIsa>::QuantizeRow(const float* in, const IntegerRows& out, int64_t row) noexcept {
  // Magnitudes as integers: they rise with the floats, and those of infinities and NaNs are the largest.
  int32_t max_bits = 0;
  for (int64_t i = 0; i < out.k; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(in[i]) & 0x7FFFFFFF;
    max_bits = bits > max_bits ? bits : max_bits;
  }
  const float max = std::bit_cast<float>(max_bits);
  const bool finite = max_bits < 0x7F800000;
  const bool zero = !finite || max < kSmallestMax;
  out.scales[row] = !finite ? __builtin_nanf("") : zero ? 0.0f : max / kMaxInteger;
  const float inverse = zero ? 0.0f : kMaxInteger / max;

  const int64_t tile = row / out.tile_rows, place = row % out.tile_rows;
  const int64_t num_groups = out.k / kLaneGroup;
  std::byte* record = out.records + (tile * num_groups * out.tile_rows + place) * kRecordBytes;
  float* sum32 = out.sums32 + tile * num_groups * out.tile_rows + place;
  float* sum16 = out.sums16 + 2 * tile * num_groups * out.tile_rows + place;
  for (int64_t g = 0; g < num_groups; ++g) {
    // Adding 1.5 * 2^23 rounds to an integer, ties to even, and leaves it in the low bits.
    constexpr float kRounder = 12582912.0f;
    int32_t a[kLaneGroup];
    for (int64_t i = 0; i < kLaneGroup; ++i) {
      const float scaled = zero ? 0.0f : in[g * kLaneGroup + i] * inverse;
      a[i] = std::bit_cast<int32_t>(scaled + kRounder) - std::bit_cast<int32_t>(kRounder);
    }
    int32_t sums[2] = {0, 0};
    for (int64_t i = 0; i < 16; ++i) sums[0] += a[i];
    for (int64_t i = 0; i < 16; ++i) sums[1] += a[16 + i];
    StoreRecord(a, record);
    *sum32 = static_cast<float>(sums[0] + sums[1]);
    sum16[0] = static_cast<float>(sums[0]);
    sum16[out.tile_rows] = static_cast<float>(sums[1]);
    record += out.tile_rows * kRecordBytes;
    sum32 += out.tile_rows;
    sum16 += 2 * out.tile_rows;
  }
}

template <>
void IntegerOps<kIsa>::Linear(const IntegerLinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) noexcept {
  switch (args.dtype) {
    case DType::kQ4_0:
      return LinearOf<DType::kQ4_0>(args, n_begin, n_end, scratch);
    case DType::kQ4_1:
      return LinearOf<DType::kQ4_1>(args, n_begin, n_end, scratch);
    case DType::kQ5_0:
      return LinearOf<DType::kQ5_0>(args, n_begin, n_end, scratch);
    case DType::kQ5_1:
      return LinearOf<DType::kQ5_1>(args, n_begin, n_end, scratch);
    case DType::kQ8_0:
      return LinearOf<DType::kQ8_0>(args, n_begin, n_end, scratch);
    case DType::kQ2_K:
      return LinearOf<DType::kQ2_K>(args, n_begin, n_end, scratch);
    case DType::kQ3_K:
      return LinearOf<DType::kQ3_K>(args, n_begin, n_end, scratch);
    case DType::kQ4_K:
      return LinearOf<DType::kQ4_K>(args, n_begin, n_end, scratch);
    case DType::kQ5_K:
      return LinearOf<DType::kQ5_K>(args, n_begin, n_end, scratch);
    case DType::kQ6_K:
      return LinearOf<DType::kQ6_K>(args, n_begin, n_end, scratch);
    default:
      return;  // the caller's check: HasLanes
  }
}

template <>
int64_t IntegerOps<kIsa>::Products(int64_t num_groups) noexcept {
  alignas(64) std::byte records[kRecordBytes * kMaxTokens];
  for (size_t i = 0; i < sizeof(records); ++i) records[i] = static_cast<std::byte>(i * 37);
  Codes w[8];
  for (int64_t l = 0; l < 8; ++l)
    w[l] = LoadLine(records + int64_t{4} * kLanes * (l % (int64_t{16} * kMaxTokens / kLanes)));
  F32 sums[kMaxTokens];
  for (int64_t t = 0; t < kMaxTokens; ++t) sums[t] = SetFloat(0.0f);
  for (int64_t g = 0; g < num_groups * kStripParts; ++g) {
    I32 dots[kMaxTokens];
    Dots<8, kMaxTokens>(w, records, 0, dots);
    // One addition a sum keeps the products from being done once for all: the compiler cannot see what is in memory.
    for (int64_t t = 0; t < kMaxTokens; ++t) sums[t] = Add(sums[t], ToFloat(dots[t]));
    asm volatile("" : : "r"(records) : "memory");
  }
  float values[kLanes];
  for (int64_t t = 1; t < kMaxTokens; ++t) sums[0] = Add(sums[0], sums[t]);
  StoreFloats(values, sums[0]);
  return static_cast<int64_t>(values[0]) & 0xFFFF;
}

}  // namespace lem
