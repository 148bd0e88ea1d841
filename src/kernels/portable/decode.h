// Portable decoders: the scalar reference, block by block, behind the interface of the other instruction sets.
// A part is a whole block; Prepare does the work.
#pragma once

#include <cstddef>

#include "kernels/portable/simd.h"
#include "tensor/dequantize.h"
#include "tensor/dtype.h"
#include "tensor/quant_blocks.h"

namespace lem {
namespace {

template <DType kType, int64_t kElementsValue, int64_t kBytesValue>
struct BlockDecoder {
  static constexpr int64_t kElements = kElementsValue, kBytes = kBytesValue;
  static constexpr int kParts = 1;
  struct Prepared {
    float values[kElements];
  };
  static LEM_INLINE void Prepare(const std::byte* p, Prepared& out) { DequantizeRow(kType, p, out.values, kElements); }
  template <typename Sink>
  static LEM_INLINE void DecodePart(const std::byte*, const Prepared& prepared, int, Sink&& sink) {
    for (int i = 0; i < kElements / 16; ++i) sink(i, Load(prepared.values + 16 * i));
  }
  static LEM_INLINE F32x16 DecodeFirst(const std::byte* p, int64_t n) {
    float values[kElements] = {};
    DequantizeRow(kType, p, values, n);
    return Load(values);
  }
};

template <DType kType>
struct Decoder;
template <>
struct Decoder<DType::kF32> : BlockDecoder<DType::kF32, 16, 64> {};
template <>
struct Decoder<DType::kF16> : BlockDecoder<DType::kF16, 16, 32> {};
template <>
struct Decoder<DType::kBF16> : BlockDecoder<DType::kBF16, 16, 32> {};
template <>
struct Decoder<DType::kQ4_0> : BlockDecoder<DType::kQ4_0, 32, sizeof(BlockQ4_0)> {};
template <>
struct Decoder<DType::kQ4_1> : BlockDecoder<DType::kQ4_1, 32, sizeof(BlockQ4_1)> {};
template <>
struct Decoder<DType::kQ5_0> : BlockDecoder<DType::kQ5_0, 32, sizeof(BlockQ5_0)> {};
template <>
struct Decoder<DType::kQ5_1> : BlockDecoder<DType::kQ5_1, 32, sizeof(BlockQ5_1)> {};
template <>
struct Decoder<DType::kQ8_0> : BlockDecoder<DType::kQ8_0, 32, sizeof(BlockQ8_0)> {};
template <>
struct Decoder<DType::kQ2_K> : BlockDecoder<DType::kQ2_K, 256, sizeof(BlockQ2_K)> {};
template <>
struct Decoder<DType::kQ3_K> : BlockDecoder<DType::kQ3_K, 256, sizeof(BlockQ3_K)> {};
template <>
struct Decoder<DType::kQ4_K> : BlockDecoder<DType::kQ4_K, 256, sizeof(BlockQ4_K)> {};
template <>
struct Decoder<DType::kQ5_K> : BlockDecoder<DType::kQ5_K, 256, sizeof(BlockQ5_K)> {};
template <>
struct Decoder<DType::kQ6_K> : BlockDecoder<DType::kQ6_K, 256, sizeof(BlockQ6_K)> {};

}  // namespace
}  // namespace lem
