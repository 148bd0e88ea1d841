// Element types of tensors, numbered and named as GGUF does, and the size of their blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace lem {

// The values are the type ids of GGUF files (ggml's enum ggml_type).
enum class DType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kBF16 = 30,
};

struct DTypeInfo {
  DType dtype;
  std::string_view name;    // as GGUF tools print it: "Q4_K"
  uint32_t block_elements;  // elements quantised together along a row; 1 for plain types
  uint32_t block_bytes;     // bytes of one such block
  bool is_weight;           // kernels can multiply by a matrix of this type
};

// Null for an id this program does not know.
const DTypeInfo* FindDType(uint32_t gguf_type_id);
// REQUIRES: a value of the enum.
const DTypeInfo& GetDTypeInfo(DType dtype);

// Bytes of a row of `num_elements`; nullopt if that is not a whole number of blocks or overflows.
std::optional<uint64_t> RowBytes(DType dtype, uint64_t num_elements);

}  // namespace lem
