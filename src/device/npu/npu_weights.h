// Weights as the NPU multiplies by them: a converted copy of a matrix of the model file, in memory of the memory
// manager, shared by every graph that uses it. Immutable after conversion; thread-safe.
#pragma once

#include <memory>

#include "device/npu/compiler/static_graph.h"
#include "device/npu/emulator/gemm_kernels.h"
#include "device/npu/npu_weight_cache.h"
#include "kernels/kernels.h"
#include "memory/memory_manager.h"
#include "memory/weight_table.h"

namespace lem {

struct NpuWeight {
  NpuPrecision precision = NpuPrecision::kInt8;
  PackedInt8 int8;  // kInt8 and kInt4
  PackedBf16 bf16;
  Allocation memory;
  size_t bytes() const { return precision == NpuPrecision::kBf16 ? bf16.bytes() : int8.bytes(); }
};

// Takes it from the cache or converts it, and keeps it there. Errors: Unimplemented (a type that cannot be read),
// ResourceExhausted. Single-threaded; runs where it is called.
Result<std::shared_ptr<const NpuWeight>> ConvertNpuWeight(const WeightDesc& desc, std::span<const std::byte> bytes,
                                                          NpuPrecision precision, int64_t scale_group,
                                                          const KernelTable& kernels, MemoryManager& memory,
                                                          NpuWeightCache& cache);

}  // namespace lem
