#include "device/machine.h"

#include <algorithm>
#include <iterator>

#include "device/cpu/cpu_device.h"
#include "device/npu/npu_device.h"
#include "device/npu/openvino/openvino_device.h"
#include "device/slowed_device.h"
#include "device/vulkan/vulkan_device.h"

namespace lem {

namespace fs = std::filesystem;

DeviceListing ListDevices(const KernelTable& kernels) {
  DeviceListing listing;
  listing.devices.push_back(CpuDeviceCaps(kernels));
  VulkanListing vulkan = ListVulkanDevices();
  std::ranges::move(vulkan.devices, std::back_inserter(listing.devices));
  std::ranges::move(vulkan.missing, std::back_inserter(listing.missing));
  listing.devices.push_back(NpuEmulatedCaps(NpuDeviceOptionsFromEnvironment(), kernels));
  if (Result<DeviceCaps> openvino = OpenVinoCaps(OpenVinoOptionsFromEnvironment()); openvino.ok()) {
    listing.devices.push_back(std::move(*openvino));
  } else {
    listing.missing.push_back(fmt::format("OpenVINO: {}", openvino.status().message()));
  }
  return listing;
}

namespace {

Result<std::unique_ptr<Device>> OpenDeviceItself(std::string_view id, const DeviceHost& host) {
  if (id == "cpu") {
    return MakeCpuDevice(host.pool, host.kernels, &host.memory,
                         host.cache_folder.empty() ? fs::path() : host.cache_folder / "cpu");
  }
  if (id.starts_with("vulkan:")) {
    VulkanDeviceOptions options = VulkanDeviceOptionsFromEnvironment();
    if (!host.cache_folder.empty()) options.cache_folder = host.cache_folder / "vulkan";
    Result<std::unique_ptr<VulkanDevice>> device = OpenVulkanDevice(id, host.memory, options);
    if (device.ok()) return std::unique_ptr<Device>(std::move(*device));
    if (device.status().code() != StatusCode::kNotFound) return device.status();
  }
  if (id == "npu-emu") {
    NpuDeviceOptions options = NpuDeviceOptionsFromEnvironment();
    if (!host.cache_folder.empty()) options.cache_folder = host.cache_folder / "npu";
    LEM_ASSIGN_OR_RETURN(std::unique_ptr<NpuEmulatedDevice> device,
                         MakeNpuEmulatedDevice(options, host.pool, host.kernels, host.memory));
    return std::unique_ptr<Device>(std::move(device));
  }
  if (id == "npu-openvino") {
    OpenVinoOptions options = OpenVinoOptionsFromEnvironment();
    if (!host.cache_folder.empty()) options.cache_folder = host.cache_folder / "openvino";
    LEM_ASSIGN_OR_RETURN(std::unique_ptr<OpenVinoDevice> device,
                         MakeOpenVinoDevice(options, host.pool, host.kernels, host.memory));
    return std::unique_ptr<Device>(std::move(device));
  }
  std::vector<std::string> ids;
  const DeviceListing listing = ListDevices(host.kernels);
  ids.reserve(listing.devices.size());
  for (const DeviceCaps& caps : listing.devices) ids.push_back(caps.id);
  return NotFound("there is no device '{}'; devices of this machine: {}{}", id, fmt::join(ids, ", "),
                  listing.missing.empty() ? "" : fmt::format(" ({})", fmt::join(listing.missing, "; ")));
}

}  // namespace

Result<std::unique_ptr<Device>> OpenDevice(std::string_view id, const DeviceHost& host) {
  LEM_ASSIGN_OR_RETURN(std::unique_ptr<Device> device, OpenDeviceItself(id, host));
  const std::optional<SlowDown> slow_down = SlowDownFromEnvironment();
  if (slow_down && slow_down->device_id == id) return MakeSlowedDevice(std::move(device), *slow_down);
  return device;
}

}  // namespace lem
