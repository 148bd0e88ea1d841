// Sixteen rows of weights in an AVX-512 register, for the integer products of avx512/ and avx512_vnni/
// (generic/integer_linear_inl.h). What is left to each of them: kIsa and the products of a group.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstring>

#include "kernels/generic/inline.h"
#include "kernels/ops.h"

namespace lem {
namespace {

constexpr int kLanes = 16;
constexpr int kMaxTokens = kAvx512TileRows;

using Codes = __m512i;
using I32 = __m512i;
using F32 = __m512;

LEM_INLINE Codes LoadLine(const std::byte* p) { return _mm512_load_si512(reinterpret_cast<const __m512i*>(p)); }
LEM_INLINE Codes SetWord(uint32_t word) { return _mm512_set1_epi32(static_cast<int>(word)); }
LEM_INLINE Codes And(Codes x, uint32_t mask) { return _mm512_and_si512(x, SetWord(mask)); }
// x | (y & mask)
LEM_INLINE Codes OrMasked(Codes x, Codes y, uint32_t mask) {
  return _mm512_ternarylogic_epi32(x, y, SetWord(mask), 0xF8);
}
template <int kBits>
LEM_INLINE Codes ShiftLeft(Codes x) {
  return _mm512_slli_epi32(x, kBits);
}
template <int kBits>
LEM_INLINE Codes ShiftRight(Codes x) {
  return _mm512_srli_epi32(x, kBits);
}

LEM_INLINE F32 SetFloat(float value) { return _mm512_set1_ps(value); }
LEM_INLINE F32 LoadFloats(const float* p) { return _mm512_loadu_ps(p); }
LEM_INLINE void StoreFloats(float* p, F32 x) { _mm512_storeu_ps(p, x); }
LEM_INLINE F32 LoadHalfs(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}
LEM_INLINE F32 LoadUnsignedBytes(const std::byte* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p))));
}
LEM_INLINE F32 LoadSignedBytes(const std::byte* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p))));
}
LEM_INLINE void LoadNibbles(const std::byte* p, F32* low, F32* high) {
  const __m512i bytes = _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  *low = _mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(15)));
  *high = _mm512_cvtepi32_ps(_mm512_srli_epi32(bytes, 4));
}
LEM_INLINE I32 ZeroInts() { return _mm512_setzero_si512(); }
LEM_INLINE I32 AddInts(I32 a, I32 b) { return _mm512_add_epi32(a, b); }
// Sums of the products of pairs of 16 bits.
LEM_INLINE I32 DotPairs(I32 a, I32 b) { return _mm512_madd_epi16(a, b); }
template <int kBits>
LEM_INLINE Codes ShiftRightPairs(Codes x) {
  return _mm512_srli_epi16(x, kBits);
}
LEM_INLINE F32 ToFloat(I32 a) { return _mm512_cvtepi32_ps(a); }
LEM_INLINE F32 Add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
LEM_INLINE F32 Multiply(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
LEM_INLINE F32 Fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }

// Four bytes of a record in every lane.
LEM_INLINE I32 BroadcastWord(const std::byte* p) {
  int32_t word;
  std::memcpy(&word, p, 4);
  return _mm512_set1_epi32(word);
}

}  // namespace
}  // namespace lem
