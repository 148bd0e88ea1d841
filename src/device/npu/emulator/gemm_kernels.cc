#include "device/npu/emulator/gemm_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/integer_math.h"
#include "tensor/half.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define LEM_NPU_X86 1
#define LEM_TARGET_AVX2 __attribute__((target("avx2")))
#define LEM_TARGET_AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512vl")))
#endif

namespace lem {
namespace {

constexpr int64_t kRows = 4;  // that share the loads of a panel
using Vector = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));

// The int32 sums of one group for kCount rows: sums[row][16].
template <int kCount>
inline __attribute__((always_inline)) void GroupSumsPlain(const int8_t* weight, int64_t pairs, const int16_t* const* a,
                                                          int32_t (*sums)[kNpuPanel]) {
  for (int row = 0; row < kCount; ++row) {
    for (int64_t n = 0; n < kNpuPanel; ++n) sums[row][n] = 0;
    for (int64_t p = 0; p < pairs; ++p) {
      for (int64_t n = 0; n < kNpuPanel; ++n) {
        sums[row][n] += a[row][2 * p] * weight[p * 2 * kNpuPanel + 2 * n] +
                        a[row][2 * p + 1] * weight[p * 2 * kNpuPanel + 2 * n + 1];
      }
    }
  }
}

#if LEM_NPU_X86
inline int32_t Pair(const int16_t* a) {
  int32_t pair;
  std::memcpy(&pair, a, sizeof(pair));
  return pair;
}

template <int kCount>
LEM_TARGET_AVX512 void GroupSumsAvx512(const int8_t* weight, int64_t pairs, const int16_t* const* a,
                                       int32_t (*sums)[kNpuPanel]) {
  __m512i acc[kCount];
  for (int row = 0; row < kCount; ++row) acc[row] = _mm512_setzero_si512();
  for (int64_t p = 0; p < pairs; ++p) {
    const __m512i w =
        _mm512_cvtepi8_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(weight + p * 2 * kNpuPanel)));
    for (int row = 0; row < kCount; ++row) {
      acc[row] = _mm512_add_epi32(acc[row], _mm512_madd_epi16(w, _mm512_set1_epi32(Pair(a[row] + 2 * p))));
    }
  }
  for (int row = 0; row < kCount; ++row) _mm512_storeu_si512(sums[row], acc[row]);
}

template <int kCount>
LEM_TARGET_AVX2 void GroupSumsAvx2(const int8_t* weight, int64_t pairs, const int16_t* const* a,
                                   int32_t (*sums)[kNpuPanel]) {
  __m256i acc[kCount][2];
  for (int row = 0; row < kCount; ++row) acc[row][0] = acc[row][1] = _mm256_setzero_si256();
  for (int64_t p = 0; p < pairs; ++p) {
    const auto* source = reinterpret_cast<const __m128i*>(weight + p * 2 * kNpuPanel);
    const __m256i low = _mm256_cvtepi8_epi16(_mm_load_si128(source));
    const __m256i high = _mm256_cvtepi8_epi16(_mm_load_si128(source + 1));
    for (int row = 0; row < kCount; ++row) {
      const __m256i pair = _mm256_set1_epi32(Pair(a[row] + 2 * p));
      acc[row][0] = _mm256_add_epi32(acc[row][0], _mm256_madd_epi16(low, pair));
      acc[row][1] = _mm256_add_epi32(acc[row][1], _mm256_madd_epi16(high, pair));
    }
  }
  for (int row = 0; row < kCount; ++row) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums[row]), acc[row][0]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums[row] + 8), acc[row][1]);
  }
}
#endif

enum class Level { kPlain, kAvx2, kAvx512 };

Level BestLevel() {
#if LEM_NPU_X86
  static const Level kLevel = [] {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) return Level::kAvx512;
    return __builtin_cpu_supports("avx2") ? Level::kAvx2 : Level::kPlain;
  }();
  return kLevel;
#else
  return Level::kPlain;
#endif
}

template <int kCount>
void GroupSums(Level level, const int8_t* weight, int64_t pairs, const int16_t* const* a, int32_t (*sums)[kNpuPanel]) {
#if LEM_NPU_X86
  if (level == Level::kAvx512) return GroupSumsAvx512<kCount>(weight, pairs, a, sums);
  if (level == Level::kAvx2) return GroupSumsAvx2<kCount>(weight, pairs, a, sums);
#endif
  GroupSumsPlain<kCount>(weight, pairs, a, sums);
}

template <int kCount>
void Int8RowsOfPanel(Level level, const PackedInt8& weight, int64_t panel, const Int8Rows& rows, int64_t row,
                     float* out, int64_t out_stride) {
  const int64_t group_values = weight.group_pairs * 2 * kNpuPanel;
  const int8_t* values = weight.values + panel * weight.num_groups * group_values;
  const float* scales = weight.scales + panel * weight.num_groups * kNpuPanel;
  const float* minimums = weight.has_minimums ? weight.minimums + panel * weight.num_groups * kNpuPanel : nullptr;
  float total[kCount][kNpuPanel] = {};
  int32_t sums[kCount][kNpuPanel];
  for (int64_t g = 0; g < weight.num_groups; ++g) {
    const int16_t* a[kCount];
    for (int i = 0; i < kCount; ++i) {
      a[i] = rows.values.data() + (row + i) * rows.row_values + g * weight.group_pairs * 2;
    }
    GroupSums<kCount>(level, values + g * group_values, weight.group_pairs, a, sums);
    for (int i = 0; i < kCount; ++i) {
      const float scale = rows.scales[static_cast<size_t>((row + i) * rows.num_groups + g)];
      for (int64_t n = 0; n < kNpuPanel; ++n) {
        total[i][n] += static_cast<float>(sums[i][n]) * (scale * scales[g * kNpuPanel + n]);
      }
      if (minimums == nullptr) continue;
      const float sum = rows.sums[static_cast<size_t>((row + i) * rows.num_groups + g)];
      for (int64_t n = 0; n < kNpuPanel; ++n) total[i][n] += sum * (scale * minimums[g * kNpuPanel + n]);
    }
  }
  const int64_t columns = std::min(kNpuPanel, weight.n - panel * kNpuPanel);
  for (int i = 0; i < kCount; ++i) std::copy_n(total[i], columns, out + (row + i) * out_stride + panel * kNpuPanel);
}

template <int kCount>
inline __attribute__((always_inline)) void Bf16RowsOfPanel(const PackedBf16& weight, int64_t panel, const float* in,
                                                           int64_t row, float* out, int64_t out_stride) {
  const uint16_t* values = weight.values + panel * weight.k * kNpuPanel;
  Vector total[kCount] = {};
  for (int64_t k = 0; k < weight.k; ++k) {
    using Shorts = uint16_t __attribute__((vector_size(32)));
    Shorts raw;
    std::memcpy(&raw, values + k * kNpuPanel, sizeof(raw));
    Ints bits = __builtin_convertvector(raw, Ints) << 16;
    Vector w;
    std::memcpy(&w, &bits, sizeof(w));
    for (int i = 0; i < kCount; ++i) total[i] += w * in[(row + i) * weight.k + k];
  }
  const int64_t columns = std::min(kNpuPanel, weight.n - panel * kNpuPanel);
  for (int i = 0; i < kCount; ++i) {
    std::memcpy(out + (row + i) * out_stride + panel * kNpuPanel, &total[i],
                static_cast<size_t>(columns) * sizeof(float));
  }
}

inline __attribute__((always_inline)) void Bf16Panel(const PackedBf16& weight, int64_t panel, const float* in,
                                                     int64_t begin, int64_t end, float* out, int64_t out_stride) {
  int64_t row = begin;
  for (; row + kRows <= end; row += kRows) Bf16RowsOfPanel<kRows>(weight, panel, in, row, out, out_stride);
  for (; row < end; ++row) Bf16RowsOfPanel<1>(weight, panel, in, row, out, out_stride);
}

#if LEM_NPU_X86
LEM_TARGET_AVX512 void Bf16PanelAvx512(const PackedBf16& weight, int64_t panel, const float* in, int64_t begin,
                                       int64_t end, float* out, int64_t out_stride) {
  Bf16Panel(weight, panel, in, begin, end, out, out_stride);
}
LEM_TARGET_AVX2 void Bf16PanelAvx2(const PackedBf16& weight, int64_t panel, const float* in, int64_t begin, int64_t end,
                                   float* out, int64_t out_stride) {
  Bf16Panel(weight, panel, in, begin, end, out, out_stride);
}
#endif

// To the nearest integer, ties to even, for magnitudes below 2^22; adding 1.5 * 2^23 leaves no bits for fractions.
inline float RoundSmall(float value) {
  constexpr float kRounder = 12582912.0f;
  return (value + kRounder) - kRounder;
}

// Symmetric: the largest magnitude becomes `levels`.
template <typename Out>
float QuantizeGroup(const float* in, int64_t count, int32_t levels, Out store) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(in[i]));
  const float scale = largest / static_cast<float>(levels);
  const float inverse = scale > 0 && std::isfinite(scale) ? 1.0f / scale : 0.0f;
  const auto limit = static_cast<float>(levels);
  for (int64_t i = 0; i < count; ++i) {
    // What is no number becomes the limit.
    store(i, static_cast<int8_t>(std::max(-limit, std::min(limit, RoundSmall(in[i] * inverse)))));
  }
  return scale;
}

}  // namespace

PackedInt8::PackedInt8(int64_t n, int64_t k, int64_t group, bool has_minimums)
    : n(n),
      k(k),
      group(group),
      num_groups(DivideUp(k, group)),
      group_pairs(DivideUp(group, 2)),
      has_minimums(has_minimums) {}

size_t PackedInt8::value_bytes() const {
  return static_cast<size_t>(DivideUp(n, kNpuPanel) * num_groups * group_pairs * 2 * kNpuPanel);
}

size_t PackedInt8::bytes() const {
  const auto groups = static_cast<size_t>(DivideUp(n, kNpuPanel) * num_groups * kNpuPanel);
  return value_bytes() + groups * sizeof(float) * (has_minimums ? 2 : 1);
}

void PackedInt8::Attach(std::byte* memory) {
  values = reinterpret_cast<int8_t*>(memory);
  scales = reinterpret_cast<float*>(memory + value_bytes());
  minimums = scales + DivideUp(n, kNpuPanel) * num_groups * kNpuPanel;
}

size_t PackedBf16::bytes() const {
  return static_cast<size_t>(DivideUp(n, kNpuPanel) * k * kNpuPanel) * sizeof(uint16_t);
}

namespace {

struct Grid {
  float step = 0, minimum = 0;
};

// The grid minimum + step * (0..15) that holds all values: exactly if there is one, else the one from end to end.
Grid FindGrid(const float* in, int64_t count) {
  constexpr int32_t kMaxLevel = 15;
  constexpr float kTolerance = 1e-3f;  // of a step: what float32 loses in writing the values
  float minimum = in[0], maximum = in[0];
  for (int64_t i = 1; i < count; ++i) {
    minimum = std::min(minimum, in[i]);
    maximum = std::max(maximum, in[i]);
  }
  const float range = maximum - minimum;
  constexpr float kLeastRange = 1e-30f;  // below it the reciprocal of a step may overflow
  if (!(range > kLeastRange) || !std::isfinite(range)) return {0, std::isfinite(minimum) ? minimum : 0.0f};
  for (int32_t levels = kMaxLevel; levels >= 1; --levels) {
    const float step = range / static_cast<float>(levels), inverse = 1 / step;
    float worst = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float at = (in[i] - minimum) * inverse;
      worst = std::max(worst, std::abs(at - RoundSmall(at)));
    }
    if (worst < kTolerance) return {step, minimum};
  }
  return {range / static_cast<float>(kMaxLevel), minimum};
}

template <typename Out>
Grid QuantizeWeightGroup(const float* in, int64_t count, bool four_bits, Out store) {
  constexpr int32_t kLevels = 127;
  if (!four_bits) return {QuantizeGroup(in, count, kLevels, store), 0};
  const Grid grid = FindGrid(in, count);
  const float inverse = grid.step > 0 ? 1 / grid.step : 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    store(i, static_cast<int8_t>(std::max(0.0f, std::min(15.0f, RoundSmall((in[i] - grid.minimum) * inverse)))));
  }
  return grid;
}

}  // namespace

void PackInt8Row(const PackedInt8& packed, int64_t row, std::span<const float> values) {
  const int64_t panel = row / kNpuPanel, n = row % kNpuPanel;
  for (int64_t g = 0; g < packed.num_groups; ++g) {
    const int64_t begin = g * packed.group, count = std::min(packed.group, packed.k - begin);
    const int64_t group_idx = panel * packed.num_groups + g;
    int8_t* out = packed.values + group_idx * packed.group_pairs * 2 * kNpuPanel;
    const Grid grid =
        QuantizeWeightGroup(values.data() + begin, count, packed.has_minimums,
                            [&](int64_t i, int8_t value) { out[i / 2 * 2 * kNpuPanel + 2 * n + i % 2] = value; });
    packed.scales[group_idx * kNpuPanel + n] = grid.step;
    if (packed.has_minimums) packed.minimums[group_idx * kNpuPanel + n] = grid.minimum;
  }
}

void QuantizeWeightRow(std::span<const float> in, int64_t group, int8_t* values, float* scales, float* minimums) {
  const auto k = static_cast<int64_t>(in.size()), num_groups = DivideUp(k, group);
  std::fill_n(values, num_groups * group, int8_t{0});
  for (int64_t g = 0; g < num_groups; ++g) {
    const int64_t begin = g * group, count = std::min(group, k - begin);
    const Grid grid = QuantizeWeightGroup(in.data() + begin, count, minimums != nullptr,
                                          [&](int64_t i, int8_t value) { values[begin + i] = value; });
    scales[g] = grid.step;
    if (minimums != nullptr) minimums[g] = grid.minimum;
  }
}

void PackBf16Row(const PackedBf16& packed, int64_t row, std::span<const float> values) {
  uint16_t* out = packed.values + row / kNpuPanel * packed.k * kNpuPanel + row % kNpuPanel;
  for (int64_t k = 0; k < packed.k; ++k) out[k * kNpuPanel] = FloatToBfloat16(values[static_cast<size_t>(k)]);
}

void Int8Rows::Resize(int64_t rows, const PackedInt8& weight) {
  num_rows = rows;
  num_groups = weight.num_groups;
  row_values = weight.num_groups * weight.group_pairs * 2;
  // The tail of the last group must be zero.
  values.assign(static_cast<size_t>(rows * row_values), 0);
  scales.resize(static_cast<size_t>(rows * num_groups));
  sums.resize(scales.size());
}

void QuantizeInt8Row(Int8Rows& rows, int64_t row, const float* in, int64_t k, int64_t group) {
  const int64_t stride = DivideUp(group, 2) * 2;
  for (int64_t g = 0; g < rows.num_groups; ++g) {
    const int64_t begin = g * group, count = std::min(group, k - begin);
    int16_t* out = rows.values.data() + row * rows.row_values + g * stride;
    const auto idx = static_cast<size_t>(row * rows.num_groups + g);
    rows.scales[idx] = QuantizeGroup(in + begin, count, 127, [&](int64_t i, int16_t value) { out[i] = value; });
    int32_t sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += out[i];
    rows.sums[idx] = static_cast<float>(sum);
  }
}

void RoundToBf16(const float* in, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = Bfloat16ToFloat(FloatToBfloat16(in[i]));
}

void MultiplyInt8Panel(const PackedInt8& weight, int64_t panel, const Int8Rows& rows, int64_t row_begin,
                       int64_t row_end, float* out, int64_t out_stride) {
  const Level level = BestLevel();
  int64_t row = row_begin;
  for (; row + kRows <= row_end; row += kRows) {
    Int8RowsOfPanel<kRows>(level, weight, panel, rows, row, out, out_stride);
  }
  for (; row < row_end; ++row) Int8RowsOfPanel<1>(level, weight, panel, rows, row, out, out_stride);
}

void MultiplyBf16Panel(const PackedBf16& weight, int64_t panel, const float* in, int64_t row_begin, int64_t row_end,
                       float* out, int64_t out_stride) {
#if LEM_NPU_X86
  const Level level = BestLevel();
  if (level == Level::kAvx512) return Bf16PanelAvx512(weight, panel, in, row_begin, row_end, out, out_stride);
  if (level == Level::kAvx2) return Bf16PanelAvx2(weight, panel, in, row_begin, row_end, out, out_stride);
#endif
  Bf16Panel(weight, panel, in, row_begin, row_end, out, out_stride);
}

}  // namespace lem
