#include "tensor/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "tensor/half.h"
#include "tensor/quant_blocks.h"

namespace lem {
namespace {

// The element of largest magnitude, with its sign (the first among equals).
float Extreme(const float* in, int n) {
  float extreme = 0.0f;
  for (int i = 0; i < n; ++i) {
    if (std::fabs(in[i]) > std::fabs(extreme)) extreme = in[i];
  }
  return extreme;
}

float Inverse(float scale) { return scale == 0.0f ? 0.0f : 1.0f / scale; }

// The integer part of value, within [0, max]. Callers add a half first: that rounds.
int TruncateClamped(float value, int max) { return static_cast<int>(std::clamp(value, 0.0f, static_cast<float>(max))); }

// Integers of a block whose values are d * (q - offset): d from the extreme element, which becomes q = 0 exactly.
float QuantizeSymmetric(const float* in, int offset, uint8_t (&q)[32]) {
  const float d = Extreme(in, 32) / static_cast<float>(-offset);
  const float inverse = Inverse(d);
  for (int i = 0; i < 32; ++i) {
    q[i] = static_cast<uint8_t>(TruncateClamped(in[i] * inverse + (static_cast<float>(offset) + 0.5f), 2 * offset - 1));
  }
  return d;
}

struct ScaleMin {
  float scale;
  float min;
};

// Integers of a block whose values are scale * q + min.
ScaleMin QuantizeAffine(const float* in, int max_q, uint8_t (&q)[32]) {
  const auto [min, max] = std::minmax_element(in, in + 32);
  const float d = (*max - *min) / static_cast<float>(max_q);
  const float inverse = Inverse(d);
  for (int i = 0; i < 32; ++i) q[i] = static_cast<uint8_t>(TruncateClamped((in[i] - *min) * inverse + 0.5f, max_q));
  return {d, *min};
}

void PackNibbles(const uint8_t (&q)[32], uint8_t (&qs)[16]) {
  for (int i = 0; i < 16; ++i) qs[i] = static_cast<uint8_t>((q[i] & 15) | (q[i + 16] & 15) << 4);
}

void PackFifthBits(const uint8_t (&q)[32], uint8_t (&qh)[4]) {
  std::memset(qh, 0, sizeof(qh));
  for (int i = 0; i < 32; ++i) qh[i / 8] = static_cast<uint8_t>(qh[i / 8] | (q[i] >> 4) << (i % 8));
}

void QuantizeBlock(const float* in, BlockQ4_0& b) {
  uint8_t q[32];
  b.d = FloatToHalf(QuantizeSymmetric(in, 8, q));
  PackNibbles(q, b.qs);
}

void QuantizeBlock(const float* in, BlockQ4_1& b) {
  uint8_t q[32];
  const ScaleMin affine = QuantizeAffine(in, 15, q);
  b.d = FloatToHalf(affine.scale);
  b.m = FloatToHalf(affine.min);
  PackNibbles(q, b.qs);
}

void QuantizeBlock(const float* in, BlockQ5_0& b) {
  uint8_t q[32];
  b.d = FloatToHalf(QuantizeSymmetric(in, 16, q));
  PackNibbles(q, b.qs);
  PackFifthBits(q, b.qh);
}

void QuantizeBlock(const float* in, BlockQ5_1& b) {
  uint8_t q[32];
  const ScaleMin affine = QuantizeAffine(in, 31, q);
  b.d = FloatToHalf(affine.scale);
  b.m = FloatToHalf(affine.min);
  PackNibbles(q, b.qs);
  PackFifthBits(q, b.qh);
}

void QuantizeBlock(const float* in, BlockQ8_0& b) {
  const float d = std::fabs(Extreme(in, 32)) / 127.0f;
  const float inverse = Inverse(d);
  for (int i = 0; i < 32; ++i) b.qs[i] = static_cast<int8_t>(std::roundf(in[i] * inverse));
  b.d = FloatToHalf(d);
}

// Scales and minima of the eight sub-blocks of a Q4_K or Q5_K block, and all its integers in [0, max_q].
template <typename Block>
void QuantizeSubBlocks(const float* in, int max_q, Block& b, uint8_t (&q)[256]) {
  float scales[8], mins[8];  // value = scale * q - min, min >= 0
  for (int s = 0; s < 8; ++s) {
    const auto [min, max] = std::minmax_element(in + 32 * s, in + 32 * s + 32);
    mins[s] = std::max(0.0f, -*min);
    scales[s] = std::max(0.0f, *max + mins[s]) / static_cast<float>(max_q);
  }
  b.d = FloatToHalf(*std::max_element(scales, scales + 8) / 63.0f);
  b.dmin = FloatToHalf(*std::max_element(mins, mins + 8) / 63.0f);
  const float d = HalfToFloat(b.d), dmin = HalfToFloat(b.dmin);
  std::memset(b.scales, 0, sizeof(b.scales));
  for (int s = 0; s < 8; ++s) {
    const int scale = TruncateClamped(scales[s] * Inverse(d) + 0.5f, 63);
    const int min = TruncateClamped(mins[s] * Inverse(dmin) + 0.5f, 63);
    if (s < 4) {
      b.scales[s] = static_cast<uint8_t>(b.scales[s] | scale);
      b.scales[s + 4] = static_cast<uint8_t>(b.scales[s + 4] | min);
    } else {
      b.scales[s + 4] = static_cast<uint8_t>((scale & 15) | (min & 15) << 4);
      b.scales[s - 4] = static_cast<uint8_t>(b.scales[s - 4] | (scale >> 4) << 6);
      b.scales[s] = static_cast<uint8_t>(b.scales[s] | (min >> 4) << 6);
    }
    const float inverse = Inverse(d * static_cast<float>(scale)), offset = dmin * static_cast<float>(min);
    for (int i = 32 * s; i < 32 * s + 32; ++i) {
      q[i] = static_cast<uint8_t>(TruncateClamped((in[i] + offset) * inverse + 0.5f, max_q));
    }
  }
  for (int i = 0; i < 128; ++i) {
    const int low = i / 32 * 64 + i % 32;
    b.qs[i] = static_cast<uint8_t>((q[low] & 15) | (q[low + 32] & 15) << 4);
  }
}

void QuantizeBlock(const float* in, BlockQ4_K& b) {
  uint8_t q[256];
  QuantizeSubBlocks(in, 15, b, q);
}

void QuantizeBlock(const float* in, BlockQ5_K& b) {
  uint8_t q[256];
  QuantizeSubBlocks(in, 31, b, q);
  std::memset(b.qh, 0, sizeof(b.qh));
  for (int i = 0; i < 256; ++i) b.qh[i % 32] = static_cast<uint8_t>(b.qh[i % 32] | (q[i] >> 4) << (i / 32));
}

void QuantizeBlock(const float* in, BlockQ6_K& b) {
  float scales[16];
  for (int s = 0; s < 16; ++s) scales[s] = Extreme(in + 16 * s, 16) / -32.0f;
  b.d = FloatToHalf(std::fabs(Extreme(scales, 16)) / 127.0f);
  const float d = HalfToFloat(b.d), inverse_d = Inverse(d);
  std::memset(b.ql, 0, sizeof(b.ql));
  std::memset(b.qh, 0, sizeof(b.qh));
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, j = i % 128 / 32, l = i % 32, s = i / 16;
    b.scales[s] = static_cast<int8_t>(std::clamp(std::roundf(scales[s] * inverse_d), -127.0f, 127.0f));
    const int q = TruncateClamped(in[i] * Inverse(d * static_cast<float>(b.scales[s])) + 32.5f, 63);
    uint8_t& low = b.ql[64 * half + 32 * (j % 2) + l];
    uint8_t& high = b.qh[32 * half + l];
    low = static_cast<uint8_t>(low | (q & 15) << (j < 2 ? 0 : 4));
    high = static_cast<uint8_t>(high | (q >> 4) << (2 * j));
  }
}

template <typename Block, int kElements>
void QuantizeBlocks(const float* in, std::byte* row, int64_t k) {
  LEM_CHECK(k % kElements == 0) << k;
  for (int64_t i = 0; i < k; i += kElements, row += sizeof(Block)) {
    Block block;
    QuantizeBlock(in + i, block);
    std::memcpy(row, &block, sizeof(Block));
  }
}

template <uint16_t (*kConvert)(float)>
void ConvertRow(const float* in, std::byte* row, int64_t k) {
  for (int64_t i = 0; i < k; ++i) {
    const uint16_t bits = kConvert(in[i]);
    std::memcpy(row + 2 * i, &bits, 2);
  }
}

using QuantizeFunction = void (*)(const float*, std::byte*, int64_t);

QuantizeFunction FindQuantizer(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return [](const float* in, std::byte* row, int64_t k) {
        if (k > 0) std::memcpy(row, in, static_cast<size_t>(k) * sizeof(float));
      };
    case DType::kF16:
      return ConvertRow<FloatToHalf>;
    case DType::kBF16:
      return ConvertRow<FloatToBfloat16>;
    case DType::kQ4_0:
      return QuantizeBlocks<BlockQ4_0, 32>;
    case DType::kQ4_1:
      return QuantizeBlocks<BlockQ4_1, 32>;
    case DType::kQ5_0:
      return QuantizeBlocks<BlockQ5_0, 32>;
    case DType::kQ5_1:
      return QuantizeBlocks<BlockQ5_1, 32>;
    case DType::kQ8_0:
      return QuantizeBlocks<BlockQ8_0, 32>;
    case DType::kQ4_K:
      return QuantizeBlocks<BlockQ4_K, 256>;
    case DType::kQ5_K:
      return QuantizeBlocks<BlockQ5_K, 256>;
    case DType::kQ6_K:
      return QuantizeBlocks<BlockQ6_K, 256>;
    default:
      return nullptr;
  }
}

}  // namespace

bool CanQuantize(DType dtype) { return FindQuantizer(dtype) != nullptr; }

void QuantizeRow(DType dtype, const float* in, std::byte* row, int64_t k) {
  const QuantizeFunction quantize = FindQuantizer(dtype);
  LEM_CHECK(quantize != nullptr) << GetDTypeInfo(dtype).name;
  quantize(in, row, k);
}

}  // namespace lem
