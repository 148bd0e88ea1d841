// A GPU behind Vulkan as a device: compiles segments into recorded command buffers and submits them.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/device.h"
#include "device/vulkan/vulkan_context.h"

namespace lem {

struct VulkanListing {
  std::vector<DeviceCaps> devices;   // usable ones: ids vulkan:0, vulkan:1...
  std::vector<std::string> missing;  // "Vulkan: ..." for what cannot be used, and why
};
VulkanListing ListVulkanDevices();

struct VulkanDeviceOptions {
  std::filesystem::path cache_folder;  // for compiled pipelines; empty = none
  bool share_host_memory = true;       // where the device can; off: as a card with a memory of its own
  // Tiled products in float16 where the device has the arithmetic; null: unless it is an emulation.
  std::optional<bool> fp16_products;
  int64_t lose_after = -1;  // fault injection: lost after so many submissions; -1 = never
};
// From LEM_VULKAN_SHARE=0|1, LEM_VULKAN_FP16=0|1 and, to rehearse the loss of a device, LEM_VULKAN_LOSE_AFTER=N.
VulkanDeviceOptions VulkanDeviceOptionsFromEnvironment();

class VulkanDevice : public Device {
 public:
  // Fault injection for tests: the device is lost after so many more submissions.
  virtual void InjectLoss(int64_t submissions) = 0;
  virtual VulkanContext& context() = 0;
};

// Memory must outlive it. Errors: NotFound naming the devices there are, FailedPrecondition (the device lacks
// something, named), Unavailable.
Result<std::unique_ptr<VulkanDevice>> OpenVulkanDevice(std::string_view id, MemoryManager& memory,
                                                       const VulkanDeviceOptions& options);

}  // namespace lem
