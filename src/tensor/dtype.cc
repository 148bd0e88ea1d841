#include "tensor/dtype.h"

#include <array>

#include "base/check.h"
#include "base/checked_math.h"

namespace lem {
namespace {

constexpr std::array kDTypes = {
    DTypeInfo{DType::kF32, "F32", 1, 4, true},       DTypeInfo{DType::kF16, "F16", 1, 2, true},
    DTypeInfo{DType::kBF16, "BF16", 1, 2, true},     DTypeInfo{DType::kQ4_0, "Q4_0", 32, 18, true},
    DTypeInfo{DType::kQ4_1, "Q4_1", 32, 20, true},   DTypeInfo{DType::kQ5_0, "Q5_0", 32, 22, true},
    DTypeInfo{DType::kQ5_1, "Q5_1", 32, 24, true},   DTypeInfo{DType::kQ8_0, "Q8_0", 32, 34, true},
    DTypeInfo{DType::kQ2_K, "Q2_K", 256, 84, true},  DTypeInfo{DType::kQ3_K, "Q3_K", 256, 110, true},
    DTypeInfo{DType::kQ4_K, "Q4_K", 256, 144, true}, DTypeInfo{DType::kQ5_K, "Q5_K", 256, 176, true},
    DTypeInfo{DType::kQ6_K, "Q6_K", 256, 210, true}, DTypeInfo{DType::kI8, "I8", 1, 1, false},
    DTypeInfo{DType::kI16, "I16", 1, 2, false},      DTypeInfo{DType::kI32, "I32", 1, 4, false},
    DTypeInfo{DType::kI64, "I64", 1, 8, false},      DTypeInfo{DType::kF64, "F64", 1, 8, false},
};

}  // namespace

const DTypeInfo* FindDType(uint32_t gguf_type_id) {
  for (const DTypeInfo& info : kDTypes) {
    if (static_cast<uint32_t>(info.dtype) == gguf_type_id) return &info;
  }
  return nullptr;
}

const DTypeInfo& GetDTypeInfo(DType dtype) {
  const DTypeInfo* info = FindDType(static_cast<uint32_t>(dtype));
  LEM_CHECK(info != nullptr) << static_cast<uint32_t>(dtype);
  return *info;
}

std::optional<uint64_t> RowBytes(DType dtype, uint64_t num_elements) {
  const DTypeInfo& info = GetDTypeInfo(dtype);
  if (num_elements % info.block_elements != 0) return std::nullopt;
  return CheckedMul(num_elements / info.block_elements, info.block_bytes);
}

}  // namespace lem
