// Rehearses a device that slows down: another device that takes a multiple of its time from some submission on, as one
// does that others use or that is hot. What it computes does not change.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "device/device.h"

namespace lem {

struct SlowDown {
  std::string device_id;
  double factor = 1;         // of its time, at least 1
  int64_t after = 0;         // submissions
  int64_t submissions = -1;  // that are slow; -1 = all from then on
};
// Of "DEVICE=FACTOR[@AFTER[+COUNT]]", such as "vulkan:0=8@100+50". Errors: InvalidArgument.
Result<SlowDown> ParseSlowDown(std::string_view text);
// From LEM_SLOW_DOWN; what cannot be read is ignored with a warning.
std::optional<SlowDown> SlowDownFromEnvironment();

std::unique_ptr<Device> MakeSlowedDevice(std::unique_ptr<Device> device, const SlowDown& slow_down);

}  // namespace lem
