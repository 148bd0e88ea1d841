// What the kernel tests share: the tables of this machine, random weights of every type, guarded buffers.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "tensor/dtype.h"
#include "tensor/half.h"

namespace lem {

inline std::vector<const KernelTable*> Tables() {
  std::vector<const KernelTable*> tables;
  for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Vnni}) {
    if (const KernelTable* table = GetKernelTable(isa)) tables.push_back(table);
  }
  return tables;
}

// Tables that must agree bit for bit.
inline std::vector<const KernelTable*> FusedTables() {
  std::vector<const KernelTable*> tables = Tables();
  tables.erase(tables.begin());
  return tables;
}

inline const std::vector<DType>& WeightTypes() {
  static const std::vector<DType> types = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0, DType::kQ4_1,
                                           DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K, DType::kQ3_K,
                                           DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};
  return types;
}

inline std::string NameOf(DType dtype) { return std::string(GetDTypeInfo(dtype).name); }

// Offsets of the float16 scales in a block.
inline std::vector<size_t> ScaleOffsets(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
      return {0};
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108};
    case DType::kQ6_K:
      return {208};
    default:
      return {};
  }
}

// A matrix [n, k] of random elements: random bits in the blocks, scales uniform in +-max_scale.
inline std::vector<std::byte> RandomWeights(DType dtype, int64_t n, int64_t k, float max_scale, std::mt19937& rng) {
  const DTypeInfo& info = GetDTypeInfo(dtype);
  const size_t row_bytes = *RowBytes(dtype, static_cast<uint64_t>(k));
  std::vector<std::byte> bytes(static_cast<size_t>(n) * row_bytes);
  std::uniform_real_distribution<float> scale(-max_scale, max_scale);
  if (info.block_elements == 1) {
    for (size_t i = 0; i < bytes.size(); i += info.block_bytes) {
      const float value = scale(rng);
      const uint16_t bits = dtype == DType::kF16 ? FloatToHalf(value) : FloatToBfloat16(value);
      std::memcpy(&bytes[i], dtype == DType::kF32 ? static_cast<const void*>(&value) : &bits, info.block_bytes);
    }
    return bytes;
  }
  for (std::byte& b : bytes) b = static_cast<std::byte>(rng());
  for (size_t block = 0; block < bytes.size(); block += info.block_bytes) {
    for (const size_t offset : ScaleOffsets(dtype)) {
      const uint16_t bits = FloatToHalf(scale(rng));
      std::memcpy(&bytes[block + offset], &bits, 2);
    }
  }
  return bytes;
}

inline std::vector<float> RandomFloats(int64_t n, std::mt19937& rng, float deviation = 1.0f) {
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = normal(rng);
  return values;
}

// n floats between guards that a kernel must not touch; checked by Check() and when destroyed.
class GuardedFloats {
 public:
  explicit GuardedFloats(int64_t n) : buffer_(static_cast<size_t>(n) + 2 * kGuard, kSentinel), n_(n) {}
  ~GuardedFloats() { Check(); }
  float* data() { return buffer_.data() + kGuard; }
  int64_t size() const { return n_; }
  std::vector<float> values() const { return {buffer_.begin() + kGuard, buffer_.end() - kGuard}; }
  void Check() const {
    for (size_t i = 0; i < kGuard; ++i) {
      ASSERT_EQ(buffer_[i], kSentinel) << "written before the buffer";
      ASSERT_EQ(buffer_[buffer_.size() - 1 - i], kSentinel) << "written past the buffer";
    }
  }
  static constexpr float kSentinel = -7.25e11f;

 private:
  static constexpr size_t kGuard = 32;
  std::vector<float> buffer_;
  int64_t n_;
};

// Whether two rows have the same bits.
inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace lem
