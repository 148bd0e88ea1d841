// RAPL: energy counters of processors in /sys/class/powercap, on AMD's processors, too. A zone intel-rapl:N is a
// package or the platform (psys), intel-rapl:N:M a part of zone N. Since 2020 kernels let only root read them.
#include <limits>

#include "telemetry/power_sensor.h"
#include "telemetry/sysfs.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

PowerSensor ZoneSensor(const fs::path& zone, const std::string& name, const std::string& package) {
  PowerSensor sensor;
  sensor.source = PowerSource::kRail;
  if (package.empty()) {
    const bool is_platform = name == "psys";
    sensor.id = "rapl:" + name;
    sensor.covers = is_platform ? "platform" : "cpu " + name;
    sensor.part_of = is_platform ? "" : "rapl:psys";
    sensor.source = is_platform ? PowerSource::kBoard : PowerSource::kPackage;
  } else {
    sensor.id = fmt::format("rapl:{}/{}", package, name);
    // Memory hangs below its package in the tree, but the package's number does not hold it.
    sensor.part_of = name == "dram" ? "rapl:psys" : "rapl:" + package;
    const std::string_view part = name == "core"     ? "cores"
                                  : name == "uncore" ? "uncore (graphics)"
                                  : name == "dram"   ? "memory"
                                                     : std::string_view(name);
    sensor.covers = fmt::format("{} of cpu {}", part, package);
  }
  constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();
  sensor.max_energy_uj = sysfs::ReadUnsigned(zone / "max_energy_range_uj", kNoLimit).value_or(0);
  sensor.read = [path = zone / "energy_uj"]() -> Result<PowerSample> {
    LEM_ASSIGN_OR_RETURN(const uint64_t energy_uj, sysfs::ReadUnsigned(path, kNoLimit));
    return PowerSample{.energy_uj = energy_uj};
  };
  return sensor;
}

}  // namespace

std::vector<PowerSensor> FindRapl(const fs::path& root) {
  constexpr std::string_view kPrefix = "intel-rapl:";  // not intel-rapl-mmio:, another way to the same counter
  std::vector<PowerSensor> sensors;
  for (const fs::path& zone : sysfs::Numbered(root / "sys/class/powercap", kPrefix)) {
    const std::string name = sysfs::ReadName(zone / "name");
    if (name.empty()) continue;
    const std::string folder = zone.filename().string();
    const size_t parent_end = folder.find(':', kPrefix.size());
    std::string package;
    if (parent_end != std::string::npos) {
      package = sysfs::ReadName(zone.parent_path() / folder.substr(0, parent_end) / "name");
      if (package.empty()) continue;
    }
    sensors.push_back(ZoneSensor(zone, name, package));
  }
  return sensors;
}

}  // namespace lem
