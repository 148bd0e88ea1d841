#include "device/vulkan/vulkan_shaders.h"

#include <array>
#include <cstddef>

#include "base/check.h"
#include "base/embedded_file.h"

// The build names the folder and rebuilds this file when one of them changes.
#define LEM_EMBED_SPIRV(name) LEM_EMBED_FILE(kSpirv_##name, uint32_t, LEM_SPIRV_FOLDER "/" #name ".spv")

#define LEM_FOR_EACH_SHADER(X) \
  X(embed) X(matvec) X(matmul) X(matmul_f16) X(rms_norm) X(elementwise) X(rope) X(store_kv) X(attention)

LEM_FOR_EACH_SHADER(LEM_EMBED_SPIRV)

namespace lem {
namespace {

struct Entry {
  std::string_view name;
  const uint32_t* begin;
  const uint32_t* end;
};

#define LEM_ENTRY(name) Entry{#name, kSpirv_##name, kSpirv_##name##End},
constexpr std::array<Entry, kNumVulkanShaders> kEntries{{LEM_FOR_EACH_SHADER(LEM_ENTRY)}};

const Entry& EntryOf(VulkanShader shader) {
  const auto index = static_cast<size_t>(shader);
  LEM_CHECK(index < kEntries.size()) << index;
  return kEntries[index];
}

}  // namespace

std::string_view VulkanShaderName(VulkanShader shader) { return EntryOf(shader).name; }

std::span<const uint32_t> VulkanShaderCode(VulkanShader shader) { return {EntryOf(shader).begin, EntryOf(shader).end}; }

}  // namespace lem
