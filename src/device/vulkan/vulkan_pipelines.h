// Compute pipelines of the checked-in shaders: made once for each (shader, specialisation) and kept; the driver's
// compiled code is kept on disk between runs. Thread-safe.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <string>

#include "base/status.h"
#include "device/vulkan/vulkan_api.h"
#include "device/vulkan/vulkan_instance.h"
#include "device/vulkan/vulkan_shaders.h"

namespace lem {

inline constexpr size_t kMaxPushBytes = 128;  // what every Vulkan device has
inline constexpr size_t kMaxSpecConstants = 8;

// A shader and the values of its specialisation constants 0, 1, 2... (0 is the workgroup size; unused ones are 0).
struct VulkanPipelineKey {
  VulkanShader shader = VulkanShader::kEmbed;
  std::array<uint32_t, kMaxSpecConstants> constants{};
  auto operator<=>(const VulkanPipelineKey&) const = default;
};

class VulkanPipelines {
 public:
  // `cache_folder` empty: nothing is read or written. required_subgroup_size 0: the driver chooses.
  VulkanPipelines(const VulkanDeviceInfo& info, VkDevice device, const VulkanDeviceApi& api,
                  const std::filesystem::path& cache_folder, uint32_t required_subgroup_size);
  ~VulkanPipelines();
  VulkanPipelines(const VulkanPipelines&) = delete;
  VulkanPipelines& operator=(const VulkanPipelines&) = delete;

  // The pipeline, made now if it is new. Valid as long as this object. Errors: ResourceExhausted, Internal (the driver
  // refuses the shader), Unavailable (device lost).
  Result<VkPipeline> Get(const VulkanPipelineKey& key);
  // Makes all of them; `progress` (done, all) is called after each.
  Status Prepare(std::span<const VulkanPipelineKey> keys, const std::function<void(size_t, size_t)>& progress);

  VkPipelineLayout layout() const { return layout_; }
  size_t num_pipelines() const;
  // Whether the cache file was read and taken by the driver.
  bool cache_was_loaded() const { return cache_loaded_; }
  std::filesystem::path cache_file() const { return cache_file_; }
  // Writes the cache file if pipelines were made since. Also done by the destructor (errors are logged there).
  Status SaveCache();

 private:
  Status Init();
  Status InitCache();
  Result<VkShaderModule> Module(VulkanShader shader);  // REQUIRES: mutex_ held
  Result<VkPipeline> Make(const VulkanPipelineKey& key, VkShaderModule module);

  const VulkanDeviceInfo& info_;
  VkDevice device_;
  const VulkanDeviceApi& api_;
  const std::filesystem::path cache_file_;
  const uint32_t required_subgroup_size_;
  Status init_status_;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  bool cache_loaded_ = false;

  mutable std::mutex mutex_;
  std::map<VulkanPipelineKey, VkPipeline> pipelines_;  // guarded by mutex_
  std::map<VulkanShader, VkShaderModule> modules_;     // guarded by mutex_
  bool cache_changed_ = false;                         // guarded by mutex_
};

}  // namespace lem
