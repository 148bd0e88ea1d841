// The compiled shaders (SPIR-V), embedded in the program. Made by tools/build_shaders.py from shaders/*.comp.
// Thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace lem {

enum class VulkanShader : uint8_t {
  kEmbed,        // embed.comp
  kMatVec,       // matvec.comp
  kMatMul,       // matmul.comp
  kMatMulF16,    // matmul_f16.comp
  kRmsNorm,      // rms_norm.comp
  kElementwise,  // elementwise.comp: add, GLU, soft cap, copy, select
  kRope,         // rope.comp
  kStoreKv,      // store_kv.comp
  kAttention,    // attention.comp
};
inline constexpr size_t kNumVulkanShaders = 9;

// "matvec"
std::string_view VulkanShaderName(VulkanShader shader);
// The module's words.
std::span<const uint32_t> VulkanShaderCode(VulkanShader shader);

}  // namespace lem
