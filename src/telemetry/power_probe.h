// Watts and joules of this machine, each with what it covers and where it comes from.
//
// The probe finds the counters that a machine offers below a root folder ("/", or a recorded tree in tests): RAPL,
// hwmon, the ioctl of amdxdna, NVML. They cover different and overlapping things: a rail of one processor reads a tenth
// of its package, so numbers of different sources are never added or compared without their label. `part_of` says
// which reading holds another, so that a sum can leave the parts out.
//
// Thread-safe: PowerProbe locks. EnergyMeter is for one thread. A read costs some system calls for each sensor, and up
// to a millisecond on machines with NVML: do not call it on the engine's thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "telemetry/power_source.h"

namespace lem {

struct PowerReading {
  std::string id;      // stable on one machine: "rapl:package-0", "amdgpu:0000:03:00.0"
  std::string covers;  // in words: "cpu package 0", "gpu 0000:03:00.0"
  // Id of another reading whose energy holds this one's; empty = none. Who adds readings up leaves out those whose
  // whole is available.
  std::string part_of;
  PowerSource source = PowerSource::kUnavailable;  // of this moment
  // A counter's mean since the read before (at least 20 ms ago), a power sensor's own number. Empty if unavailable and
  // at a counter's first read.
  std::optional<double> watts;
  // Since the probe's first read; never falls. Wraps of a counter are followed if it is read at least once in a wrap:
  // RAPL's shortest are 3 minutes, on large servers at full load. Of a power sensor: trapezoids between reads.
  double joules = 0;
  // How often the sensor was lost or restarted: energy of those gaps is not in `joules`.
  uint32_t num_gaps = 0;
  std::string why_unavailable;  // empty unless source is kUnavailable
};

class PowerProbe {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // Looks for sensors below `root`, and for NVIDIA's library if that is the real root. Never fails: a machine without
  // any sensor has the one reading "machine" that says so. Loading NVIDIA's library can take a second.
  static PowerProbe Open(const std::filesystem::path& root = "/");
  // The same with the library to load for NVML; empty = none.
  static PowerProbe Open(const std::filesystem::path& root, const std::string& nvml_library);

  PowerProbe(PowerProbe&& other) noexcept;
  PowerProbe& operator=(PowerProbe&& other) noexcept;
  ~PowerProbe();

  // Reads every sensor; always the same readings in the same order. A sensor that went away is unavailable.
  std::vector<PowerReading> Read(TimePoint now);

 private:
  struct Impl;
  explicit PowerProbe(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Energy of one sensor over a time.
struct EnergyUse {
  std::string id;
  std::string covers;
  std::string part_of;
  PowerSource source = PowerSource::kUnavailable;  // kUnavailable too if the sensor was lost for a part of the time
  double joules = 0;                               // 0 if unavailable
  std::string why_unavailable;
};

// Energy between two moments. Begins when it is made. Counters need nothing between; a power sensor is as exact as it
// is often sampled, by this meter or by any other reader of the probe.
class EnergyMeter {
 public:
  using TimePoint = PowerProbe::TimePoint;

  // REQUIRES: the probe outlives the meter.
  EnergyMeter(PowerProbe& probe, TimePoint now);

  void Sample(TimePoint now);
  // Energy from the beginning to `now`, in the order of PowerProbe::Read. May be asked for again later.
  std::vector<EnergyUse> Read(TimePoint now);

 private:
  PowerProbe* probe_;
  std::vector<PowerReading> begin_;
};

}  // namespace lem
