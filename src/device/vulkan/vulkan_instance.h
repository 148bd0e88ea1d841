// The Vulkan loader, its instance and what its devices can do: everything `lem doctor` prints about Vulkan.
//
// Thread-safe once made. A machine without a loader, driver or fit device is an answer, never a crash.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "device/vulkan/vulkan_api.h"

namespace lem {

struct VulkanInstanceOptions {
  std::string library = "libvulkan.so.1";
  // The Khronos layer with its synchronisation checks; without the layer installed, a warning and no checks.
  bool validation = false;
};
// LEM_VULKAN_VALIDATION=1 turns validation on.
VulkanInstanceOptions VulkanOptionsFromEnvironment();

// What one physical device is and can do.
struct VulkanDeviceInfo {
  VkPhysicalDevice handle = VK_NULL_HANDLE;
  std::string name;            // of the product
  std::string driver_name;     // "llvmpipe"
  std::string driver_version;  // "Mesa 22.3.6 (LLVM 15.0.6)"
  uint32_t api_version = 0;
  uint32_t vendor_id = 0, device_id = 0, driver_version_number = 0;
  std::array<uint8_t, VK_UUID_SIZE> uuid{};
  std::array<uint8_t, VK_UUID_SIZE> pipeline_cache_uuid{};
  VkPhysicalDeviceType type = VK_PHYSICAL_DEVICE_TYPE_OTHER;
  bool emulated = false;       // runs on the host's processor
  bool shares_memory = false;  // its memory is the host's: emulated or integrated

  uint32_t subgroup_size = 0, min_subgroup_size = 0, max_subgroup_size = 0;
  bool subgroup_size_control = false;  // of compute, with a required size
  uint32_t max_workgroup_size = 0;     // threads
  std::array<uint32_t, 3> max_workgroups{};
  uint32_t shared_memory_bytes = 0;  // of one workgroup
  bool fp16_arithmetic = false;
  bool int8_dot_product = false;  // packed 4 x 8 signed, accelerated
  bool host_import = false;       // VK_EXT_external_memory_host
  bool memory_budget = false;     // VK_EXT_memory_budget
  uint64_t import_alignment = 0;  // bytes
  uint64_t max_allocation_bytes = 0;
  uint64_t max_buffer_bytes = 0;
  uint64_t device_local_bytes = 0;  // the largest heap that is the device's own
  uint64_t host_heap_bytes = 0;     // the largest other heap; 0 = none
  float timestamp_period_ns = 0;

  std::vector<std::string> unmet;  // what this program needs and the device lacks, in words; empty: usable
  bool usable() const { return unmet.empty(); }
  // 32 hex digits.
  std::string UuidHex() const;
};

class VulkanInstance {
 public:
  // Errors: Unavailable with the reason: no loader, no driver, too old.
  static Result<std::shared_ptr<VulkanInstance>> Create(const VulkanInstanceOptions& options);
  ~VulkanInstance();
  VulkanInstance(const VulkanInstance&) = delete;
  VulkanInstance& operator=(const VulkanInstance&) = delete;

  // Every GPU once, also when two drivers offer it; the loader's order, hardware before emulation. May be empty.
  const std::vector<VulkanDeviceInfo>& devices() const { return devices_; }
  const VulkanInstanceApi& api() const { return api_; }
  bool validation_enabled() const { return validation_; }
  // Warnings and errors of the validation layer since the instance was made; each was logged too.
  int64_t validation_messages() const { return num_messages_.load(); }

 private:
  VulkanInstance() = default;
  Status Init(const VulkanInstanceOptions& options);
  Status ListDevices();
  static VkBool32 OnMessage(VkDebugUtilsMessageSeverityFlagBitsEXT severity, VkDebugUtilsMessageTypeFlagsEXT types,
                            const VkDebugUtilsMessengerCallbackDataEXT* data, void* user);

  VkInstance instance_ = VK_NULL_HANDLE;
  VulkanInstanceApi api_;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  bool validation_ = false;
  std::vector<VulkanDeviceInfo> devices_;
  std::atomic<int64_t> num_messages_{0};
};

}  // namespace lem
