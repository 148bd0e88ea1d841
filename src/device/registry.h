// The devices of this process, by id.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "device/device.h"

namespace lem {

class DeviceRegistry {
 public:
  void Add(std::unique_ptr<Device> device) { devices_.push_back(std::move(device)); }
  const std::vector<std::unique_ptr<Device>>& devices() const { return devices_; }

  // Errors: NotFound naming the ids there are.
  Result<Device*> Find(std::string_view id) const;

 private:
  std::vector<std::unique_ptr<Device>> devices_;
};

}  // namespace lem
