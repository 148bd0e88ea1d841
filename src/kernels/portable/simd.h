// Sixteen float32 lanes in four 128-bit vectors of the compiler's own, which any processor has in some form: the vector
// type that generic/*_inl.h is written against, for processors without a folder of their own. Multiplies and adds are
// not fused. Everything here has internal linkage: the same names mean other code in the files of another instruction
// set.
#pragma once

#include <cstdint>

#include "kernels/generic/inline.h"
#include "kernels/kernels.h"
#include "tensor/half.h"

namespace lem {
namespace {

constexpr Isa kIsa = Isa::kPortable;

// Tile sizes, from the 16 vector registers of x86-64, four to a sum.
constexpr int kLinearTileRows = 2;
constexpr int kLinearTileTokens = 1;
constexpr int kFusedSums = 2;
constexpr int kFusedMaxTokens = 1;
constexpr int kAttentionSums = 2;
constexpr int kValueGroups = 1;

using F32x4 = float __attribute__((vector_size(16)));
using I32x4 = int32_t __attribute__((vector_size(16)));

struct F32x16 {
  F32x4 v[4];
};
struct Mask16 {
  I32x4 m[4];  // -1 where true
};

template <typename Function>
LEM_INLINE F32x16 Map(Function&& function) {
  return {{function(0), function(1), function(2), function(3)}};
}

LEM_INLINE F32x16 Set(float x) {
  const F32x4 v = {x, x, x, x};
  return {{v, v, v, v}};
}
LEM_INLINE F32x16 Zero() { return Set(0.0f); }
LEM_INLINE F32x16 Load(const float* p) {
  F32x16 a;
  __builtin_memcpy(&a, p, sizeof(a));
  return a;
}
LEM_INLINE void Store(float* p, F32x16 a) { __builtin_memcpy(p, &a, sizeof(a)); }

// The first n < 16 lanes; lanes past them are zero and their memory is not touched.
LEM_INLINE F32x16 LoadFirst(const float* p, int64_t n) {
  F32x16 a = Zero();
  __builtin_memcpy(&a, p, static_cast<size_t>(n) * sizeof(float));
  return a;
}
LEM_INLINE void StoreFirst(float* p, F32x16 a, int64_t n) {
  __builtin_memcpy(p, &a, static_cast<size_t>(n) * sizeof(float));
}

LEM_INLINE F32x16 LoadHalf(const uint16_t* p) {
  float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = HalfToFloat(p[i]);
  return Load(lanes);
}
LEM_INLINE void StoreHalf(uint16_t* p, F32x16 a) {
  float lanes[16];
  Store(lanes, a);
  for (int i = 0; i < 16; ++i) p[i] = FloatToHalf(lanes[i]);
}

LEM_INLINE F32x16 operator+(F32x16 a, F32x16 b) {
  return Map([&](int i) { return a.v[i] + b.v[i]; });
}
LEM_INLINE F32x16 operator-(F32x16 a, F32x16 b) {
  return Map([&](int i) { return a.v[i] - b.v[i]; });
}
LEM_INLINE F32x16 operator*(F32x16 a, F32x16 b) {
  return Map([&](int i) { return a.v[i] * b.v[i]; });
}
LEM_INLINE F32x16 operator/(F32x16 a, F32x16 b) {
  return Map([&](int i) { return a.v[i] / b.v[i]; });
}
LEM_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return Map([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
}

// a < b ? a : b and a > b ? a : b: a NaN in b comes through.
LEM_INLINE F32x16 Min(F32x16 a, F32x16 b) {
  return Map([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
LEM_INLINE F32x16 Max(F32x16 a, F32x16 b) {
  return Map([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
LEM_INLINE Mask16 operator<(F32x16 a, F32x16 b) {
  return {{a.v[0] < b.v[0], a.v[1] < b.v[1], a.v[2] < b.v[2], a.v[3] < b.v[3]}};
}
LEM_INLINE F32x16 Select(Mask16 m, F32x16 yes, F32x16 no) {
  return Map([&](int i) { return m.m[i] ? yes.v[i] : no.v[i]; });
}

// Lanes l with begin <= l < end.
LEM_INLINE Mask16 LaneRange(int64_t begin, int64_t end) {
  Mask16 mask;
  for (int i = 0; i < 16; ++i) mask.m[i / 4][i % 4] = i >= begin && i < end ? -1 : 0;
  return mask;
}

LEM_INLINE F32x16 Abs(F32x16 a) {
  return Map([&](int i) { return reinterpret_cast<F32x4>(reinterpret_cast<I32x4>(a.v[i]) & 0x7FFFFFFF); });
}
LEM_INLINE F32x16 CopySign(F32x16 magnitude, F32x16 sign) {
  return Map([&](int i) {
    return reinterpret_cast<F32x4>((reinterpret_cast<I32x4>(magnitude.v[i]) & 0x7FFFFFFF) |
                                   (reinterpret_cast<I32x4>(sign.v[i]) & INT32_MIN));
  });
}
// The bits of a plus (the bits of n << 23): adds an integer, held in n's lowest bits, to a's exponent.
LEM_INLINE F32x16 AddToExponent(F32x16 a, F32x16 n) {
  using U32x4 = uint32_t __attribute__((vector_size(16)));
  return Map([&](int i) {
    return reinterpret_cast<F32x4>(reinterpret_cast<U32x4>(a.v[i]) + (reinterpret_cast<U32x4>(n.v[i]) << 23));
  });
}

// The sum of all lanes by the tree of kernels.h.
LEM_INLINE float ReduceAdd(F32x16 a) {
  const F32x4 s4 = (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]);
  return (s4[0] + s4[2]) + (s4[1] + s4[3]);
}
LEM_INLINE float ReduceMax(F32x16 a) {
  float lanes[16];
  Store(lanes, a);
  float max = lanes[0];
  for (int i = 1; i < 16; ++i) max = lanes[i] > max ? lanes[i] : max;
  return max;
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
