// Watts of devices, from energy that was read while they waited and while they were measured.
#pragma once

#include <span>
#include <vector>

#include "device/device.h"
#include "scheduler/cost/device_profile.h"
#include "telemetry/power_probe.h"

namespace lem {

// Energy of all of a machine's sensors over a time.
struct PowerSpan {
  std::vector<EnergyUse> uses;  // as EnergyMeter::Read tells them
  double seconds = 0;
};

// The sensor that reads this device: one of its own, or the package that it is in. Emulated devices are read where they
// are computed. Unavailable where there is none: no number is made up.
DevicePower PowerOf(const DeviceCaps& caps, const PowerSpan& idle, const PowerSpan& busy);

}  // namespace lem
