// Sixteen float32 lanes in one AVX-512 register: the vector type that generic/*_inl.h is written against. Everything
// here has internal linkage: the same names mean other code in the files of another instruction set.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/generic/inline.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

constexpr Isa kIsa = Isa::kAvx512;

// Tile sizes, from 32 vector registers. linear: 4 weight rows x 6 tokens = 24 sums, 4 weights, 1 activation.
// attention: 24 sums; values in tiles of 4 x 16 elements for up to 6 states.
constexpr int kLinearTileRows = 4;
constexpr int kLinearTileTokens = 6;
// Decode: 4 weight rows x up to 6 activation rows.
constexpr int kFusedSums = 24;
constexpr int kFusedMaxTokens = 6;
constexpr int kAttentionSums = 24;
constexpr int kValueGroups = 4;

struct F32x16 {
  __m512 v;
};
struct Mask16 {
  __mmask16 m;
};

LEM_INLINE F32x16 Zero() { return {_mm512_setzero_ps()}; }
LEM_INLINE F32x16 Set(float x) { return {_mm512_set1_ps(x)}; }
LEM_INLINE F32x16 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
LEM_INLINE void Store(float* p, F32x16 a) { _mm512_storeu_ps(p, a.v); }

// The first n < 16 lanes; lanes past them are zero and their memory is not touched.
LEM_INLINE __mmask16 FirstLanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
LEM_INLINE F32x16 LoadFirst(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(FirstLanes(n), p)}; }
LEM_INLINE void StoreFirst(float* p, F32x16 a, int64_t n) { _mm512_mask_storeu_ps(p, FirstLanes(n), a.v); }

LEM_INLINE F32x16 LoadHalf(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
LEM_INLINE void StoreHalf(uint16_t* p, F32x16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

LEM_INLINE F32x16 operator+(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
LEM_INLINE F32x16 operator-(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
LEM_INLINE F32x16 operator*(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
LEM_INLINE F32x16 operator/(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
LEM_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }

// a < b ? a : b and a > b ? a : b: a NaN in b comes through.
LEM_INLINE F32x16 Min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
LEM_INLINE F32x16 Max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
LEM_INLINE Mask16 operator<(F32x16 a, F32x16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
LEM_INLINE F32x16 Select(Mask16 m, F32x16 yes, F32x16 no) { return {_mm512_mask_blend_ps(m.m, no.v, yes.v)}; }

// Lanes l with begin <= l < end.
LEM_INLINE Mask16 LaneRange(int64_t begin, int64_t end) {
  const uint32_t below_end = end >= 16 ? 0xFFFFu : end <= 0 ? 0u : (1u << end) - 1u;
  const uint32_t below_begin = begin >= 16 ? 0xFFFFu : begin <= 0 ? 0u : (1u << begin) - 1u;
  return {static_cast<__mmask16>(below_end & ~below_begin)};
}

LEM_INLINE F32x16 Abs(F32x16 a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7FFFFFFF)))};
}
LEM_INLINE F32x16 CopySign(F32x16 magnitude, F32x16 sign) {
  const __m512i mask = _mm512_set1_epi32(0x7FFFFFFF);
  return {_mm512_castsi512_ps(
      _mm512_ternarylogic_epi32(mask, _mm512_castps_si512(magnitude.v), _mm512_castps_si512(sign.v), 0xCA))};
}
// The bits of a plus (the bits of n << 23): adds an integer, held in n's lowest bits, to a's exponent.
LEM_INLINE F32x16 AddToExponent(F32x16 a, F32x16 n) {
  return {
      _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a.v), _mm512_slli_epi32(_mm512_castps_si512(n.v), 23)))};
}

// Folds of the summation tree (kernels.h). FoldN(a, b): N sums of each, from 2N lanes of each.
// [a0..a7 b0..b7] with ai = a[i] + a[i + 8].
LEM_INLINE __m512 Fold8(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
}
// From two results of Fold8, [a, b] and [c, d]: [a0..a3 b0..b3 c0..c3 d0..d3].
LEM_INLINE __m512 Fold4(__m512 ab, __m512 cd) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
}
// In each 128-bit lane, from p and q: [p0 + p2, p1 + p3, q0 + q2, q1 + q3].
LEM_INLINE __m512 Fold2(__m512 p, __m512 q) {
  return _mm512_add_ps(_mm512_shuffle_ps(p, q, 0x44), _mm512_shuffle_ps(p, q, 0xEE));
}
// In each 128-bit lane, from p and q: [p0 + p1, p2 + p3, q0 + q1, q2 + q3].
LEM_INLINE __m512 Fold1(__m512 p, __m512 q) {
  return _mm512_add_ps(_mm512_shuffle_ps(p, q, 0x88), _mm512_shuffle_ps(p, q, 0xDD));
}

// The sum of all lanes by the tree of kernels.h.
LEM_INLINE float ReduceAdd(F32x16 a) {
  const __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}
LEM_INLINE float ReduceMax(F32x16 a) { return _mm512_reduce_max_ps(a.v); }

// sums[t][r] = the sum of acc[r][t]. Four (two) tokens of four rows share each fold.
template <int kTokens>
LEM_INLINE void ReduceTile(const F32x16 (&acc)[4][kTokens], float (&sums)[kTokens][4]) {
  int t = 0;
  for (; t + 4 <= kTokens; t += 4) {
    __m512 row[4];
    for (int r = 0; r < 4; ++r) {
      row[r] = Fold4(Fold8(acc[r][t].v, acc[r][t + 1].v), Fold8(acc[r][t + 2].v, acc[r][t + 3].v));
    }
    _mm512_storeu_ps(sums[t], Fold1(Fold2(row[0], row[1]), Fold2(row[2], row[3])));
  }
  for (; t < kTokens; t += 2) {
    const int next = t + 1 < kTokens ? t + 1 : t;  // a last odd token is paired with itself
    __m512 row[4];
    for (int r = 0; r < 4; ++r) row[r] = Fold8(acc[r][t].v, acc[r][next].v);
    // 128-bit lanes: rows 0 and 2 of token t, of the next one, then rows 1 and 3 of both.
    const __m512 pairs = Fold2(Fold4(row[0], row[1]), Fold4(row[2], row[3]));
    const __m512 all =
        _mm512_permutexvar_ps(_mm512_setr_epi32(0, 8, 1, 9, 4, 12, 5, 13, 0, 0, 0, 0, 0, 0, 0, 0), Fold1(pairs, pairs));
    _mm_storeu_ps(sums[t], _mm512_castps512_ps128(all));
    if (next > t) _mm_storeu_ps(sums[next], _mm512_extractf32x4_ps(all, 1));
  }
}

}  // namespace
}  // namespace lem
