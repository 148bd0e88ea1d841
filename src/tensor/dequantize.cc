#include "tensor/dequantize.h"

#include <cstring>

#include "base/check.h"
#include "tensor/half.h"
#include "tensor/quant_blocks.h"

namespace lem {
namespace {

void DequantizeBlock(const BlockQ4_0& b, float* out) {
  const float d = HalfToFloat(b.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((b.qs[i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((b.qs[i] >> 4) - 8);
  }
}

void DequantizeBlock(const BlockQ4_1& b, float* out) {
  const float d = HalfToFloat(b.d), m = HalfToFloat(b.m);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(b.qs[i] & 15) + m;
    out[i + 16] = d * static_cast<float>(b.qs[i] >> 4) + m;
  }
}

// The 5-bit integer of element i of a Q5_0 or Q5_1 block.
int FiveBits(const uint8_t* qs, const uint8_t* qh, int i) {
  const int nibble = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
  return nibble | ((qh[i / 8] >> (i % 8)) & 1) << 4;
}

void DequantizeBlock(const BlockQ5_0& b, float* out) {
  const float d = HalfToFloat(b.d);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(FiveBits(b.qs, b.qh, i) - 16);
}

void DequantizeBlock(const BlockQ5_1& b, float* out) {
  const float d = HalfToFloat(b.d), m = HalfToFloat(b.m);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(FiveBits(b.qs, b.qh, i)) + m;
}

void DequantizeBlock(const BlockQ8_0& b, float* out) {
  const float d = HalfToFloat(b.d);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(b.qs[i]);
}

void DequantizeBlock(const BlockQ2_K& b, float* out) {
  const float d = HalfToFloat(b.d), dmin = HalfToFloat(b.dmin);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, j = i % 128 / 32, l = i % 32;
    const int q = (b.qs[32 * half + l] >> (2 * j)) & 3;
    const uint8_t scale = b.scales[i / 16];
    out[i] = d * static_cast<float>(scale & 15) * static_cast<float>(q) - dmin * static_cast<float>(scale >> 4);
  }
}

void DequantizeBlock(const BlockQ3_K& b, float* out) {
  const float d = HalfToFloat(b.d);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, j = i % 128 / 32, l = i % 32, s = i / 16;
    const int q = ((b.qs[32 * half + l] >> (2 * j)) & 3) | ((b.hmask[l] >> (4 * half + j)) & 1) << 2;
    const int low = s < 8 ? b.scales[s] & 15 : b.scales[s - 8] >> 4;
    const int scale = low | ((b.scales[8 + s % 4] >> (2 * (s / 4))) & 3) << 4;
    out[i] = d * static_cast<float>(scale - 32) * static_cast<float>(q - 4);
  }
}

struct ScaleMin {
  float scale;
  float min;
};

// Scale and minimum of sub-block s of a Q4_K or Q5_K block.
ScaleMin ScaleMinOf(const uint8_t* scales, int s) {
  if (s < 4) return {static_cast<float>(scales[s] & 63), static_cast<float>(scales[s + 4] & 63)};
  return {static_cast<float>((scales[s + 4] & 15) | (scales[s - 4] >> 6) << 4),
          static_cast<float>((scales[s + 4] >> 4) | (scales[s] >> 6) << 4)};
}

void DequantizeBlock(const BlockQ4_K& b, float* out) {
  const float d = HalfToFloat(b.d), dmin = HalfToFloat(b.dmin);
  for (int i = 0; i < 256; ++i) {
    const int s = i / 32, byte = b.qs[32 * (s / 2) + i % 32];
    const int q = s % 2 == 0 ? byte & 15 : byte >> 4;
    const ScaleMin sub = ScaleMinOf(b.scales, s);
    out[i] = d * sub.scale * static_cast<float>(q) - dmin * sub.min;
  }
}

void DequantizeBlock(const BlockQ5_K& b, float* out) {
  const float d = HalfToFloat(b.d), dmin = HalfToFloat(b.dmin);
  for (int i = 0; i < 256; ++i) {
    const int s = i / 32, byte = b.qs[32 * (s / 2) + i % 32];
    const int q = (s % 2 == 0 ? byte & 15 : byte >> 4) | ((b.qh[i % 32] >> s) & 1) << 4;
    const ScaleMin sub = ScaleMinOf(b.scales, s);
    out[i] = d * sub.scale * static_cast<float>(q) - dmin * sub.min;
  }
}

void DequantizeBlock(const BlockQ6_K& b, float* out) {
  const float d = HalfToFloat(b.d);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, j = i % 128 / 32, l = i % 32;
    const int byte = b.ql[64 * half + 32 * (j % 2) + l];
    const int q = (j < 2 ? byte & 15 : byte >> 4) | ((b.qh[32 * half + l] >> (2 * j)) & 3) << 4;
    out[i] = d * static_cast<float>(b.scales[i / 16]) * static_cast<float>(q - 32);
  }
}

template <typename Block, int kElements>
void DequantizeBlocks(const std::byte* row, float* out, int64_t k) {
  LEM_CHECK(k % kElements == 0) << k;
  for (int64_t i = 0; i < k; i += kElements, row += sizeof(Block)) {
    Block block;
    std::memcpy(&block, row, sizeof(Block));
    DequantizeBlock(block, out + i);
  }
}

template <float (*kConvert)(uint16_t)>
void ConvertRow(const std::byte* row, float* out, int64_t k) {
  for (int64_t i = 0; i < k; ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, row + 2 * i, 2);
    out[i] = kConvert(bits);
  }
}

}  // namespace

void DequantizeRow(DType dtype, const std::byte* row, float* out, int64_t k) {
  switch (dtype) {
    case DType::kF32:
      if (k > 0) std::memcpy(out, row, static_cast<size_t>(k) * sizeof(float));
      return;
    case DType::kF16:
      return ConvertRow<HalfToFloat>(row, out, k);
    case DType::kBF16:
      return ConvertRow<Bfloat16ToFloat>(row, out, k);
    case DType::kQ4_0:
      return DequantizeBlocks<BlockQ4_0, 32>(row, out, k);
    case DType::kQ4_1:
      return DequantizeBlocks<BlockQ4_1, 32>(row, out, k);
    case DType::kQ5_0:
      return DequantizeBlocks<BlockQ5_0, 32>(row, out, k);
    case DType::kQ5_1:
      return DequantizeBlocks<BlockQ5_1, 32>(row, out, k);
    case DType::kQ8_0:
      return DequantizeBlocks<BlockQ8_0, 32>(row, out, k);
    case DType::kQ2_K:
      return DequantizeBlocks<BlockQ2_K, 256>(row, out, k);
    case DType::kQ3_K:
      return DequantizeBlocks<BlockQ3_K, 256>(row, out, k);
    case DType::kQ4_K:
      return DequantizeBlocks<BlockQ4_K, 256>(row, out, k);
    case DType::kQ5_K:
      return DequantizeBlocks<BlockQ5_K, 256>(row, out, k);
    case DType::kQ6_K:
      return DequantizeBlocks<BlockQ6_K, 256>(row, out, k);
    case DType::kI8:
    case DType::kI16:
    case DType::kI32:
    case DType::kI64:
    case DType::kF64:
      break;
  }
  LEM_CHECK(false) << "not a weight type: " << GetDTypeInfo(dtype).name;
}

}  // namespace lem
