// Sixteen float32 lanes in two AVX2 registers (with FMA and F16C): the vector type that generic/*_inl.h is written
// against. Everything here has internal linkage: the same names mean other code in the files of another instruction
// set.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/generic/inline.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

constexpr Isa kIsa = Isa::kAvx2;

// Tile sizes, from 16 vector registers, two to a sum: 6 sums in 12, the rest for operands.
constexpr int kLinearTileRows = 2;
constexpr int kLinearTileTokens = 3;
constexpr int kFusedSums = 4;
constexpr int kFusedMaxTokens = 4;
constexpr int kAttentionSums = 6;
constexpr int kValueGroups = 2;

struct F32x16 {
  __m256 lo;
  __m256 hi;
};
struct Mask16 {
  __m256 lo;  // all bits set where true
  __m256 hi;
};

LEM_INLINE F32x16 Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
LEM_INLINE F32x16 Set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
LEM_INLINE F32x16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
LEM_INLINE void Store(float* p, F32x16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}

// 32-bit lanes l of a half with begin <= l < end, counted from `first`.
LEM_INLINE __m256i HalfLaneRange(int first, int64_t begin, int64_t end) {
  const __m256i lane = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(first));
  const int from = begin < 0 ? 0 : begin > 16 ? 16 : static_cast<int>(begin);
  const int to = end < 0 ? 0 : end > 16 ? 16 : static_cast<int>(end);
  return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(from), lane),
                             _mm256_cmpgt_epi32(_mm256_set1_epi32(to), lane));
}

// The first n < 16 lanes; lanes past them are zero and their memory is not touched.
LEM_INLINE F32x16 LoadFirst(const float* p, int64_t n) {
  return {_mm256_maskload_ps(p, HalfLaneRange(0, 0, n)), _mm256_maskload_ps(p + 8, HalfLaneRange(8, 0, n))};
}
LEM_INLINE void StoreFirst(float* p, F32x16 a, int64_t n) {
  _mm256_maskstore_ps(p, HalfLaneRange(0, 0, n), a.lo);
  _mm256_maskstore_ps(p + 8, HalfLaneRange(8, 0, n), a.hi);
}

LEM_INLINE F32x16 LoadHalf(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
LEM_INLINE void StoreHalf(uint16_t* p, F32x16 a) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.lo, kNearest));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(a.hi, kNearest));
}

LEM_INLINE F32x16 operator+(F32x16 a, F32x16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
LEM_INLINE F32x16 operator-(F32x16 a, F32x16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
LEM_INLINE F32x16 operator*(F32x16 a, F32x16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
LEM_INLINE F32x16 operator/(F32x16 a, F32x16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
LEM_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

// a < b ? a : b and a > b ? a : b: a NaN in b comes through.
LEM_INLINE F32x16 Min(F32x16 a, F32x16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
LEM_INLINE F32x16 Max(F32x16 a, F32x16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
LEM_INLINE Mask16 operator<(F32x16 a, F32x16 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)};
}
LEM_INLINE F32x16 Select(Mask16 m, F32x16 yes, F32x16 no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, m.lo), _mm256_blendv_ps(no.hi, yes.hi, m.hi)};
}

// Lanes l with begin <= l < end.
LEM_INLINE Mask16 LaneRange(int64_t begin, int64_t end) {
  return {_mm256_castsi256_ps(HalfLaneRange(0, begin, end)), _mm256_castsi256_ps(HalfLaneRange(8, begin, end))};
}

LEM_INLINE F32x16 Abs(F32x16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
LEM_INLINE F32x16 CopySign(F32x16 magnitude, F32x16 sign) {
  const __m256 mask = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(mask, magnitude.lo), _mm256_and_ps(mask, sign.lo)),
          _mm256_or_ps(_mm256_andnot_ps(mask, magnitude.hi), _mm256_and_ps(mask, sign.hi))};
}
LEM_INLINE __m256 AddToExponent(__m256 a, __m256 n) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}
// The bits of a plus (the bits of n << 23): adds an integer, held in n's lowest bits, to a's exponent.
LEM_INLINE F32x16 AddToExponent(F32x16 a, F32x16 n) { return {AddToExponent(a.lo, n.lo), AddToExponent(a.hi, n.hi)}; }

// The sum of all lanes by the tree of kernels.h.
LEM_INLINE float ReduceAdd(F32x16 a) {
  const __m256 s8 = _mm256_add_ps(a.lo, a.hi);
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}
LEM_INLINE float ReduceMax(F32x16 a) {
  const __m256 m8 = _mm256_max_ps(a.lo, a.hi);
  const __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
  const __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
  return _mm_cvtss_f32(_mm_max_ss(m2, _mm_movehdup_ps(m2)));
}

// sums[t][r] = the sum of acc[r][t].
template <int kTokens>
LEM_INLINE void ReduceTile(const F32x16 (&acc)[kLinearTileRows][kTokens], float (&sums)[kTokens][kLinearTileRows]) {
  for (int t = 0; t < kTokens; ++t) {
    for (int r = 0; r < kLinearTileRows; ++r) sums[t][r] = ReduceAdd(acc[r][t]);
  }
}

}  // namespace
}  // namespace lem
