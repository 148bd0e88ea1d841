#include "device/npu/openvino/openvino_weights.h"

#include <vector>

#include "base/integer_math.h"
#include "device/npu/emulator/gemm_kernels.h"
#include "tensor/half.h"

namespace lem {
namespace {

constexpr size_t kAlignment = 64;

// Where the arrays of a weight begin.
struct Parts {
  size_t scales = 0, zero_points = 0, bytes = 0;
};

Parts PartsOf(const openvino::Weight& weight) {
  Parts parts;
  const auto rows = static_cast<size_t>(weight.rows);
  if (weight.type == openvino::WeightType::kBf16) {
    parts.bytes = rows * static_cast<size_t>(weight.cols) * sizeof(uint16_t);
    return parts;
  }
  const bool four_bits = weight.type == openvino::WeightType::kInt4;
  const size_t values = rows * static_cast<size_t>(weight.groups * weight.group) / (four_bits ? 2 : 1);
  const size_t floats = RoundUp(rows * static_cast<size_t>(weight.groups) * sizeof(float), kAlignment);
  parts.scales = RoundUp(values, kAlignment);
  parts.zero_points = parts.scales + floats;
  parts.bytes = parts.zero_points + (four_bits ? floats : 0);
  return parts;
}

// From scale * value + minimum to scale * (value - zero point); where all values are the minimum, it becomes the scale.
void MinimumToZeroPoint(float& scale, float& minimum) {
  if (scale == 0.0f) {
    scale = minimum;
    minimum = -1.0f;
  } else {
    minimum = -minimum / scale;
  }
}

}  // namespace

Result<std::shared_ptr<const OpenVinoWeight>> ConvertOpenVinoWeight(const WeightDesc& desc,
                                                                    std::span<const std::byte> bytes,
                                                                    NpuPrecision precision, int64_t scale_group,
                                                                    const KernelTable& kernels, MemoryManager& memory) {
  if (!GetDTypeInfo(desc.dtype).is_weight || desc.layout != Layout::kGgufRows) {
    return Unimplemented("weight {} is {}, which cannot be converted for OpenVINO", desc.name,
                         GetDTypeInfo(desc.dtype).name);
  }
  if (precision == NpuPrecision::kInt4 && scale_group % 2 != 0) {
    return Unimplemented("OpenVINO's 4-bit weights take groups of an even number, not {}", scale_group);
  }
  auto weight = std::make_shared<OpenVinoWeight>();
  openvino::Weight& view = weight->view;
  view.rows = desc.rows;
  view.cols = desc.cols;
  view.group = scale_group;
  view.groups = DivideUp(desc.cols, scale_group);
  view.type = precision == NpuPrecision::kBf16   ? openvino::WeightType::kBf16
              : precision == NpuPrecision::kInt4 ? openvino::WeightType::kInt4
                                                 : openvino::WeightType::kInt8;
  const Parts parts = PartsOf(view);
  LEM_ASSIGN_OR_RETURN(weight->memory, memory.Allocate(MemoryUse::kWeights, parts.bytes));
  weight->num_bytes = parts.bytes;
  std::byte* const base = weight->memory.data();
  auto* const scales = reinterpret_cast<float*>(base + parts.scales);
  auto* const zero_points = reinterpret_cast<float*>(base + parts.zero_points);
  view.values = base;
  view.scales = scales;
  view.zero_points = zero_points;

  std::vector<float> row(static_cast<size_t>(desc.cols));
  std::vector<int8_t> levels(static_cast<size_t>(view.groups * view.group));
  for (int64_t r = 0; r < desc.rows; ++r) {
    kernels.dequantize_row(desc.dtype, bytes.data() + static_cast<size_t>(r) * desc.row_bytes, row.data(), desc.cols);
    if (view.type == openvino::WeightType::kBf16) {
      auto* out = reinterpret_cast<uint16_t*>(base) + r * desc.cols;
      for (size_t k = 0; k < row.size(); ++k) out[k] = FloatToBfloat16(row[k]);
      continue;
    }
    float* const row_scales = scales + r * view.groups;
    if (view.type == openvino::WeightType::kInt8) {
      QuantizeWeightRow(row, view.group, reinterpret_cast<int8_t*>(base) + r * view.groups * view.group, row_scales,
                        nullptr);
      continue;
    }
    float* const minimums = zero_points + r * view.groups;
    QuantizeWeightRow(row, view.group, levels.data(), row_scales, minimums);
    for (int64_t g = 0; g < view.groups; ++g) MinimumToZeroPoint(row_scales[g], minimums[g]);
    auto* out = reinterpret_cast<uint8_t*>(base) + static_cast<size_t>(r) * levels.size() / 2;
    for (size_t k = 0; k < levels.size(); k += 2) out[k / 2] = static_cast<uint8_t>(levels[k] | levels[k + 1] << 4);
  }
  return std::shared_ptr<const OpenVinoWeight>(std::move(weight));
}

}  // namespace lem
