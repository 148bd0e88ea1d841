// Elementary functions on sixteen lanes, with the same bits for every instruction set that has fused multiply-add.
// Included after an instruction set's simd.h.
#pragma once

namespace lem {
namespace {

// Below this argument Exp is exactly zero. e^-80 times the least float16 (6e-8) is still above the least float32, so
// that a probability times a value never rounds to a zero with a sign: see attention_inl.h.
constexpr float kExpZeroBelow = -80.0f;

// e^x within 2 units in the last place, for x <= 0 (or NaN): all that softmax, sigmoid and tanh need, and no overflow.
// Method and coefficients: Cephes expf.
LEM_INLINE F32x16 Exp(F32x16 x) {
  // Adding 1.5 * 2^23 rounds to an integer n and leaves n in the lowest bits.
  const F32x16 magic = Set(12582912.0f);
  const F32x16 shifted = Fma(x, Set(1.44269504088896341f), magic);
  const F32x16 n = shifted - magic;
  // r = x - n ln 2, with ln 2 in two parts: the product with the first is exact.
  F32x16 r = Fma(n, Set(-0.693359375f), x);
  r = Fma(n, Set(2.12194440e-4f), r);
  F32x16 p = Set(1.9875691500e-4f);
  p = Fma(p, r, Set(1.3981999507e-3f));
  p = Fma(p, r, Set(8.3334519073e-3f));
  p = Fma(p, r, Set(4.1665795894e-2f));
  p = Fma(p, r, Set(1.6666665459e-1f));
  p = Fma(p, r, Set(5.0000001201e-1f));
  p = Fma(p, r * r, r) + Set(1.0f);
  return Select(x < Set(kExpZeroBelow), Zero(), AddToExponent(p, shifted));
}

// 1 / (1 + e^-x)
LEM_INLINE F32x16 Sigmoid(F32x16 x) {
  const F32x16 e = Exp(Zero() - Abs(x));
  return Select(x < Zero(), e, Set(1.0f)) / (Set(1.0f) + e);
}

// Cephes tanhf: a polynomial near zero, where the form with Exp would cancel.
LEM_INLINE F32x16 Tanh(F32x16 x) {
  const F32x16 magnitude = Abs(x);
  const F32x16 z = x * x;
  F32x16 p = Set(-5.70498872745e-3f);
  p = Fma(p, z, Set(2.06390887954e-2f));
  p = Fma(p, z, Set(-5.37397155531e-2f));
  p = Fma(p, z, Set(1.33314422036e-1f));
  p = Fma(p, z, Set(-3.33332819422e-1f));
  const F32x16 near = Fma(p * z, x, x);
  const F32x16 e = Exp(Set(-2.0f) * magnitude);
  const F32x16 far = CopySign((Set(1.0f) - e) / (Set(1.0f) + e), x);
  return Select(magnitude < Set(0.625f), near, far);
}

// cap * tanh(x / cap)
LEM_INLINE F32x16 SoftcapOf(F32x16 x, F32x16 cap) { return cap * Tanh(x / cap); }

}  // namespace
}  // namespace lem
