#include "device/npu/npu_weights.h"

#include <vector>

namespace lem {

Result<std::shared_ptr<const NpuWeight>> ConvertNpuWeight(const WeightDesc& desc, std::span<const std::byte> bytes,
                                                          NpuPrecision precision, int64_t scale_group,
                                                          const KernelTable& kernels, MemoryManager& memory,
                                                          NpuWeightCache& cache) {
  if (!GetDTypeInfo(desc.dtype).is_weight || desc.layout != Layout::kGgufRows) {
    return Unimplemented("weight {} is {}, which cannot be converted for the NPU", desc.name,
                         GetDTypeInfo(desc.dtype).name);
  }
  auto weight = std::make_shared<NpuWeight>();
  weight->precision = precision;
  weight->int8 = PackedInt8(desc.rows, desc.cols, scale_group, precision == NpuPrecision::kInt4);
  weight->bf16 = PackedBf16{.n = desc.rows, .k = desc.cols};
  LEM_ASSIGN_OR_RETURN(weight->memory, memory.Allocate(MemoryUse::kWeights, weight->bytes()));
  weight->int8.Attach(weight->memory.data());
  weight->bf16.Attach(weight->memory.data());
  const std::span<std::byte> converted(weight->memory.data(), weight->bytes());
  const std::string key = cache.enabled() ? NpuWeightCache::KeyOf(desc, bytes, precision, scale_group) : "";
  if (cache.Load(key, converted)) return std::shared_ptr<const NpuWeight>(std::move(weight));
  std::vector<float> row(static_cast<size_t>(desc.cols));
  for (int64_t r = 0; r < desc.rows; ++r) {
    kernels.dequantize_row(desc.dtype, bytes.data() + static_cast<size_t>(r) * desc.row_bytes, row.data(), desc.cols);
    if (precision == NpuPrecision::kBf16) {
      PackBf16Row(weight->bf16, r, row);
    } else {
      PackInt8Row(weight->int8, r, row);
    }
  }
  cache.Store(key, converted);
  return std::shared_ptr<const NpuWeight>(std::move(weight));
}

}  // namespace lem
