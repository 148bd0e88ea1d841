// Eight rows of weights in an AVX2 register, for the integer products of avx2/ and avx_vnni/
// (generic/integer_linear_inl.h). What is left to each of them: kIsa and the products of a group.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstring>

#include "kernels/generic/inline.h"
#include "kernels/ops.h"

namespace lem {
namespace {

constexpr int kLanes = 8;
constexpr int kMaxTokens = kAvx2TileRows;

using Codes = __m256i;
using I32 = __m256i;
using F32 = __m256;

LEM_INLINE Codes LoadLine(const std::byte* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
LEM_INLINE Codes SetWord(uint32_t word) { return _mm256_set1_epi32(static_cast<int>(word)); }
LEM_INLINE Codes And(Codes x, uint32_t mask) { return _mm256_and_si256(x, SetWord(mask)); }
LEM_INLINE Codes OrMasked(Codes x, Codes y, uint32_t mask) { return _mm256_or_si256(x, And(y, mask)); }
template <int kBits>
LEM_INLINE Codes ShiftLeft(Codes x) {
  return _mm256_slli_epi32(x, kBits);
}
template <int kBits>
LEM_INLINE Codes ShiftRight(Codes x) {
  return _mm256_srli_epi32(x, kBits);
}

LEM_INLINE F32 SetFloat(float value) { return _mm256_set1_ps(value); }
LEM_INLINE F32 LoadFloats(const float* p) { return _mm256_loadu_ps(p); }
LEM_INLINE void StoreFloats(float* p, F32 x) { _mm256_storeu_ps(p, x); }
LEM_INLINE F32 LoadHalfs(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}
LEM_INLINE F32 LoadUnsignedBytes(const std::byte* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
LEM_INLINE F32 LoadSignedBytes(const std::byte* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
LEM_INLINE void LoadNibbles(const std::byte* p, F32* low, F32* high) {
  const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  *low = _mm256_cvtepi32_ps(_mm256_and_si256(bytes, _mm256_set1_epi32(15)));
  *high = _mm256_cvtepi32_ps(_mm256_srli_epi32(bytes, 4));
}
LEM_INLINE I32 ZeroInts() { return _mm256_setzero_si256(); }
LEM_INLINE I32 AddInts(I32 a, I32 b) { return _mm256_add_epi32(a, b); }
// Sums of the products of pairs of 16 bits.
LEM_INLINE I32 DotPairs(I32 a, I32 b) { return _mm256_madd_epi16(a, b); }
template <int kBits>
LEM_INLINE Codes ShiftRightPairs(Codes x) {
  return _mm256_srli_epi16(x, kBits);
}
LEM_INLINE F32 ToFloat(I32 a) { return _mm256_cvtepi32_ps(a); }
LEM_INLINE F32 Add(F32 a, F32 b) { return _mm256_add_ps(a, b); }
LEM_INLINE F32 Multiply(F32 a, F32 b) { return _mm256_mul_ps(a, b); }
LEM_INLINE F32 Fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }

// Four bytes of a record in every lane.
LEM_INLINE I32 BroadcastWord(const std::byte* p) {
  int32_t word;
  std::memcpy(&word, p, 4);
  return _mm256_set1_epi32(word);
}

}  // namespace
}  // namespace lem
