// The devices that this machine has: found by asking drivers, opened by id.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "device/device.h"
#include "kernels/kernels.h"

namespace lem {

// What devices work with. All of it must outlive them.
struct DeviceHost {
  ThreadPool& pool;  // the CPU's
  const KernelTable& kernels;
  MemoryManager& memory;
  std::filesystem::path cache_folder;  // for what is compiled; empty = none
};

struct DeviceListing {
  std::vector<DeviceCaps> devices;   // that can be opened, the CPU first
  std::vector<std::string> missing;  // what is not there and why, in words: "Vulkan: no driver is installed"
};

// Asks every driver; takes some tens of milliseconds where there is one. Opens nothing.
DeviceListing ListDevices(const KernelTable& kernels);

// Errors: NotFound naming the devices there are, FailedPrecondition (the device lacks something, named), Unavailable.
Result<std::unique_ptr<Device>> OpenDevice(std::string_view id, const DeviceHost& host);

}  // namespace lem
