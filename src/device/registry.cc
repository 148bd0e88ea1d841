#include "device/registry.h"

#include <algorithm>

namespace lem {

void DeviceRegistry::Add(std::unique_ptr<Device> device) {
  if (device->memory() != nullptr && !device->memory()->shares_host_memory()) {
    space_memory_.push_back(device->memory());
  }
  devices_.push_back(std::move(device));
}

SpaceId DeviceRegistry::SpaceOf(Device& device) const {
  const auto found = std::ranges::find(space_memory_, device.memory());
  return found == space_memory_.end() ? kHostSpace : static_cast<SpaceId>(found - space_memory_.begin());
}

Result<Device*> DeviceRegistry::Find(std::string_view id) const {
  std::vector<std::string> ids;
  for (const auto& device : devices_) {
    if (device->caps().id == id) return device.get();
    ids.push_back(device->caps().id);
  }
  return NotFound("there is no device '{}'; devices of this machine: {}", id, fmt::join(ids, ", "));
}

}  // namespace lem
