// Norms, activations, rotary embedding and reductions over logits, for one instruction set: included by its
// elementwise.cc after its simd.h. Contracts: kernels.h.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/generic/math_inl.h"

namespace lem {
namespace {

// Calls body(i, load, store) for each 16 of n elements; load and store touch only what exists.
template <typename Body>
LEM_INLINE void ForEach16(int64_t n, Body&& body) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    body(
        i, [](const float* p) LEM_INLINE_LAMBDA { return Load(p); },
        [](float* p, F32x16 v) LEM_INLINE_LAMBDA { Store(p, v); });
  }
  const int64_t rest = n - i;
  if (rest > 0) {
    body(
        i, [rest](const float* p) LEM_INLINE_LAMBDA { return LoadFirst(p, rest); },
        [rest](float* p, F32x16 v) LEM_INLINE_LAMBDA { StoreFirst(p, v, rest); });
  }
}

}  // namespace

template <>
void Ops<kIsa>::RmsNorm(const float* in, const float* weight, float eps, float* out, int64_t n) noexcept {
  F32x16 squares = Zero();
  ForEach16(n, [&](int64_t i, auto load, auto) LEM_INLINE_LAMBDA {
    const F32x16 x = load(in + i);
    squares = Fma(x, x, squares);
  });
  const F32x16 factor = Set(1.0f / sqrtf(ReduceAdd(squares) / static_cast<float>(n) + eps));
  ForEach16(n, [&](int64_t i, auto load, auto store)
                   LEM_INLINE_LAMBDA { store(out + i, load(in + i) * factor * load(weight + i)); });
}

template <>
void Ops<kIsa>::Add(float* out, const float* in, int64_t n) noexcept {
  ForEach16(n,
            [&](int64_t i, auto load, auto store) LEM_INLINE_LAMBDA { store(out + i, load(out + i) + load(in + i)); });
}

template <>
void Ops<kIsa>::Scale(float* out, float factor, int64_t n) noexcept {
  ForEach16(n,
            [&](int64_t i, auto load, auto store) LEM_INLINE_LAMBDA { store(out + i, load(out + i) * Set(factor)); });
}

template <>
void Ops<kIsa>::SiluMul(const float* gate, const float* up, float* out, int64_t n) noexcept {
  ForEach16(n, [&](int64_t i, auto load, auto store) LEM_INLINE_LAMBDA {
    const F32x16 x = load(gate + i);
    store(out + i, x * Sigmoid(x) * load(up + i));
  });
}

template <>
void Ops<kIsa>::GeluMul(const float* gate, const float* up, float* out, int64_t n) noexcept {
  // 0.5 x (1 + tanh(u)) = x sigmoid(2u) with u = sqrt(2 / pi) (x + 0.044715 x^3): no cancellation.
  constexpr float kTwiceRoot = 2.0f * 0.79788456080286536f;
  ForEach16(n, [&](int64_t i, auto load, auto store) LEM_INLINE_LAMBDA {
    const F32x16 x = load(gate + i);
    const F32x16 twice_u = x * Fma(x * x, Set(kTwiceRoot * 0.044715f), Set(kTwiceRoot));
    store(out + i, x * Sigmoid(twice_u) * load(up + i));
  });
}

template <>
void Ops<kIsa>::Rope(float* head, const float* cos_sin, int64_t rotary_dim, bool interleaved) noexcept {
  const int64_t half = rotary_dim / 2;
  const int64_t step = interleaved ? 2 : 1, to_second = interleaved ? 1 : half;
  for (int64_t i = 0; i < half; ++i) {
    float* x = head + i * step;
    const float cosine = cos_sin[2 * i], sine = cos_sin[2 * i + 1];
    const float first = x[0], second = x[to_second];
    x[0] = first * cosine - second * sine;
    x[to_second] = first * sine + second * cosine;
  }
}

template <>
float Ops<kIsa>::LogSumExp(const float* in, int64_t n) noexcept {
  constexpr float kMinusInfinity = -__builtin_inff();
  F32x16 lane_max = Set(kMinusInfinity);
  // In the last, partial group absent lanes load as zero: exp(0 - max) must not count, nor zero as the maximum.
  const int64_t whole = n / 16 * 16;
  for (int64_t i = 0; i < whole; i += 16) lane_max = Max(lane_max, Load(in + i));
  const Mask16 present = LaneRange(0, n - whole);
  F32x16 rest = Set(kMinusInfinity);
  if (whole < n) rest = Select(present, LoadFirst(in + whole, n - whole), rest);
  const float max = ReduceMax(Max(lane_max, rest));
  if (max == kMinusInfinity) return max;
  // Float32 sums over a stretch, float64 over the stretches: a vocabulary has 150,000 to 260,000 entries.
  constexpr int64_t kStretch = 4096;
  double total = 0.0;
  for (int64_t begin = 0; begin < whole; begin += kStretch) {
    const int64_t end = begin + kStretch < whole ? begin + kStretch : whole;
    F32x16 sums = Zero();
    for (int64_t i = begin; i < end; i += 16) sums = sums + Exp(Load(in + i) - Set(max));
    total += static_cast<double>(ReduceAdd(sums));
  }
  total += static_cast<double>(ReduceAdd(Exp(rest - Set(max))));
  return static_cast<float>(static_cast<double>(max) + ::log(total));
}

template <>
int64_t Ops<kIsa>::Argmax(const float* in, int64_t n) noexcept {
  // First the value, then its first place: both passes are plain streams.
  F32x16 lane_max = Set(-__builtin_inff());
  const int64_t whole = n / 16 * 16;
  for (int64_t i = 0; i < whole; i += 16) lane_max = Max(Load(in + i), lane_max);  // ignores a NaN
  float max = ReduceMax(lane_max);
  for (int64_t i = whole; i < n; ++i) max = in[i] > max ? in[i] : max;
  for (int64_t i = 0; i < n; ++i) {
    if (in[i] == max) return i;
  }
  return 0;  // nothing but NaN
}

template <>
void Ops<kIsa>::Softcap(float* out, float cap, int64_t n) noexcept {
  ForEach16(n, [&](int64_t i, auto load, auto store)
                   LEM_INLINE_LAMBDA { store(out + i, SoftcapOf(load(out + i), Set(cap))); });
}

}  // namespace lem
