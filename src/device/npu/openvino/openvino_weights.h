// Weights as the OpenVINO plug-in takes them: the numbers of the NPU's formats in plain rows, in memory of the memory
// manager that the runtime reads where it lies. Immutable after conversion; thread-safe.
#pragma once

#include <memory>

#include "device/npu/compiler/static_graph.h"
#include "device/npu/openvino/openvino_runtime_abi.h"
#include "kernels/kernels.h"
#include "memory/memory_manager.h"
#include "memory/weight_table.h"

namespace lem {

struct OpenVinoWeight {
  openvino::Weight view{};  // name: none
  size_t num_bytes = 0;
  Allocation memory;
  size_t bytes() const { return num_bytes; }
};

// Errors: Unimplemented (a type that cannot be read), ResourceExhausted. Single-threaded; runs where it is called.
Result<std::shared_ptr<const OpenVinoWeight>> ConvertOpenVinoWeight(const WeightDesc& desc,
                                                                    std::span<const std::byte> bytes,
                                                                    NpuPrecision precision, int64_t scale_group,
                                                                    const KernelTable& kernels, MemoryManager& memory);

}  // namespace lem
