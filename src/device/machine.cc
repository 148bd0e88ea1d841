#include "device/machine.h"

#include "device/cpu/cpu_device.h"

namespace lem {

DeviceListing ListDevices(const KernelTable& kernels) {
  DeviceListing listing;
  listing.devices.push_back(CpuDeviceCaps(kernels));
  return listing;
}

Result<std::unique_ptr<Device>> OpenDevice(std::string_view id, const DeviceHost& host) {
  if (id == "cpu") return MakeCpuDevice(host.pool, host.kernels);
  std::vector<std::string> ids;
  const DeviceListing listing = ListDevices(host.kernels);
  for (const DeviceCaps& caps : listing.devices) ids.push_back(caps.id);
  return NotFound("there is no device '{}'; devices of this machine: {}{}", id, fmt::join(ids, ", "),
                  listing.missing.empty() ? "" : fmt::format(" ({})", fmt::join(listing.missing, "; ")));
}

}  // namespace lem
