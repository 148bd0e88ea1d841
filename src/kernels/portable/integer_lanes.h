// Sixteen rows of weights as plain arrays: the reference of the integer products, and what processors without vector
// instructions run. Interface: generic/integer_linear_inl.h.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/generic/inline.h"
#include "kernels/ops.h"
#include "tensor/half.h"

namespace lem {
namespace {

constexpr Isa kIsa = Isa::kPortable;
constexpr int kLanes = 16;
constexpr int kMaxTokens = kPortableTileRows;

struct Codes {
  uint32_t v[kLanes];
};
struct I32 {
  int32_t v[kLanes];
};
struct F32 {
  float v[kLanes];
};

template <typename Body>
LEM_INLINE void ForLanes(Body&& body) {
  for (int64_t i = 0; i < kLanes; ++i) body(i);
}

LEM_INLINE Codes LoadLine(const std::byte* p) {
  Codes x;
  std::memcpy(x.v, p, sizeof(x.v));
  return x;
}
LEM_INLINE Codes And(Codes x, uint32_t mask) {
  ForLanes([&](int64_t i) { x.v[i] &= mask; });
  return x;
}
LEM_INLINE Codes OrMasked(Codes x, const Codes& y, uint32_t mask) {
  ForLanes([&](int64_t i) { x.v[i] |= y.v[i] & mask; });
  return x;
}
template <int kBits>
LEM_INLINE Codes ShiftLeft(Codes x) {
  ForLanes([&](int64_t i) { x.v[i] <<= kBits; });
  return x;
}
template <int kBits>
LEM_INLINE Codes ShiftRight(Codes x) {
  ForLanes([&](int64_t i) { x.v[i] >>= kBits; });
  return x;
}

LEM_INLINE F32 SetFloat(float value) {
  F32 x;
  ForLanes([&](int64_t i) { x.v[i] = value; });
  return x;
}
LEM_INLINE F32 LoadFloats(const float* p) {
  F32 x;
  std::memcpy(x.v, p, sizeof(x.v));
  return x;
}
LEM_INLINE void StoreFloats(float* p, const F32& x) { std::memcpy(p, x.v, sizeof(x.v)); }
LEM_INLINE F32 LoadHalfs(const std::byte* p) {
  uint16_t halfs[kLanes];
  std::memcpy(halfs, p, sizeof(halfs));
  F32 x;
  ForLanes([&](int64_t i) { x.v[i] = HalfToFloat(halfs[i]); });
  return x;
}
LEM_INLINE F32 LoadUnsignedBytes(const std::byte* p) {
  F32 x;
  ForLanes([&](int64_t i) { x.v[i] = static_cast<float>(static_cast<uint8_t>(p[i])); });
  return x;
}
LEM_INLINE F32 LoadSignedBytes(const std::byte* p) {
  F32 x;
  ForLanes([&](int64_t i) { x.v[i] = static_cast<float>(static_cast<int8_t>(p[i])); });
  return x;
}
LEM_INLINE void LoadNibbles(const std::byte* p, F32* low, F32* high) {
  ForLanes([&](int64_t i) {
    low->v[i] = static_cast<float>(static_cast<uint8_t>(p[i]) & 15);
    high->v[i] = static_cast<float>(static_cast<uint8_t>(p[i]) >> 4);
  });
}
LEM_INLINE F32 ToFloat(const I32& a) {
  F32 x;
  ForLanes([&](int64_t i) { x.v[i] = static_cast<float>(a.v[i]); });
  return x;
}
LEM_INLINE F32 Add(F32 a, const F32& b) {
  ForLanes([&](int64_t i) { a.v[i] += b.v[i]; });
  return a;
}
LEM_INLINE F32 Multiply(F32 a, const F32& b) {
  ForLanes([&](int64_t i) { a.v[i] *= b.v[i]; });
  return a;
}
// Rounded once, as the class demands: the library's function where there is no instruction.
LEM_INLINE F32 Fma(const F32& a, const F32& b, F32 c) {
  ForLanes([&](int64_t i) { c.v[i] = std::fma(a.v[i], b.v[i], c.v[i]); });
  return c;
}

// A record: the integers in rising order.
LEM_INLINE void StoreRecord(const int32_t* a, std::byte* record) {
  int16_t values[32];
  for (int64_t i = 0; i < 32; ++i) values[i] = static_cast<int16_t>(a[i]);
  std::memcpy(record, values, sizeof(values));
}

// out[t] = the sums of codes x integers over kLines lines of a group, which begin at line `first`.
template <int kLines, int kTokens>
LEM_INLINE void Dots(const Codes* w, const std::byte* records, int64_t first, I32 (&out)[kTokens]) {
  for (int64_t t = 0; t < kTokens; ++t) {
    int16_t a[4 * kLines];
    std::memcpy(a, records + IntegerRows::kRecordBytes * static_cast<size_t>(t) + 8 * first, sizeof(a));
    ForLanes([&](int64_t i) {
      int32_t sum = 0;
      for (int64_t l = 0; l < kLines; ++l) {
        for (int b = 0; b < 4; ++b) sum += static_cast<int32_t>((w[l].v[i] >> (8 * b)) & 255) * a[4 * l + b];
      }
      out[t].v[i] = sum;
    });
  }
}

}  // namespace
}  // namespace lem
