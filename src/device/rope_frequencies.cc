#include "device/rope_frequencies.h"

#include <cmath>

namespace lem {

Result<std::vector<std::vector<double>>> RopeFrequencies(const BoundGraph& model) {
  std::vector<std::vector<double>> frequencies;
  for (const RopeSpec& spec : model.graph->ropes) {
    const float* factors = nullptr;
    if (spec.factors != kNone) {
      const WeightHandle handle = model.weights[static_cast<size_t>(spec.factors)];
      const WeightDesc& desc = model.weight_table->desc(handle);
      if (desc.dtype != DType::kF32) {
        return Unimplemented("weight {} is {}; factors of frequencies must be F32", desc.name,
                             GetDTypeInfo(desc.dtype).name);
      }
      factors = reinterpret_cast<const float*>(model.weight_table->host_bytes(handle).data());
    }
    std::vector<double>& of_rope = frequencies.emplace_back();
    for (int64_t i = 0; i < spec.rotary_dim / 2; ++i) {
      const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(spec.rotary_dim);
      const double divisor = factors != nullptr ? static_cast<double>(factors[i]) : 1.0;
      of_rope.push_back(std::pow(spec.theta, exponent) * spec.position_scale / divisor);
    }
  }
  return frequencies;
}

}  // namespace lem
