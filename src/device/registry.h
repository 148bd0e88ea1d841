// The devices of this process, by id, and the memories that they work in.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "device/device.h"

namespace lem {

class DeviceRegistry {
 public:
  // A device with a memory of its own gets the next space.
  void Add(std::unique_ptr<Device> device);
  const std::vector<std::unique_ptr<Device>>& devices() const { return devices_; }

  // Errors: NotFound naming the ids there are.
  Result<Device*> Find(std::string_view id) const;

  // [space] what copies to and from a space go through, null for the host's.
  const std::vector<DeviceMemory*>& space_memory() const { return space_memory_; }
  SpaceId SpaceOf(Device& device) const;

 private:
  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<DeviceMemory*> space_memory_{nullptr};
};

}  // namespace lem
