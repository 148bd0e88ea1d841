// One source of power or energy numbers and the functions that find them; what PowerProbe is made of.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "telemetry/power_probe.h"

namespace lem {

// A counter's state or a sensor's power.
struct PowerSample {
  std::optional<uint64_t> energy_uj;
  double watts = 0;  // used if there is no energy_uj
};

struct PowerSensor {
  std::string id;
  std::string covers;
  std::string part_of;  // dropped if there is no such sensor
  PowerSource source = PowerSource::kUnavailable;
  uint64_t max_energy_uj = 0;  // the value after which a counter begins again at 0; 0 = it never does
  // What fails is shown to people as it is.
  std::function<Result<PowerSample>()> read;
};

// /sys/class/powercap/intel-rapl:*, which AMD's processors use too.
std::vector<PowerSensor> FindRapl(const std::filesystem::path& root);
// /sys/class/hwmon/hwmon*: energy*_input, power*_average, power*_input.
std::vector<PowerSensor> FindHwmon(const std::filesystem::path& root);
// /sys/class/accel/accel* of the driver amdxdna.
std::vector<PowerSensor> FindAmdxdna(const std::filesystem::path& root);
// NVIDIA's cards. `root` tells whether their driver is there if the library is not.
std::vector<PowerSensor> FindNvml(const std::filesystem::path& root, const std::string& library);

// A sensor that is there but cannot be read, for a reason that does not change.
PowerSensor UnreadableSensor(std::string id, std::string covers, Status why);

// An error if the device of `device_folder` sleeps: asking it for a number would wake it up.
Status CheckAwake(const std::filesystem::path& device_folder);

// Above this a number is taken for garbage: ten times what one socket, card or power supply can draw.
inline constexpr double kMaxPlausibleWatts = 20'000;

}  // namespace lem
