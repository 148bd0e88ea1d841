#include "device/registry.h"

namespace lem {

Result<Device*> DeviceRegistry::Find(std::string_view id) const {
  std::vector<std::string> ids;
  for (const auto& device : devices_) {
    if (device->caps().id == id) return device.get();
    ids.push_back(device->caps().id);
  }
  return NotFound("there is no device '{}'; devices of this machine: {}", id, fmt::join(ids, ", "));
}

}  // namespace lem
