// hwmon: power and energy sensors of drivers in /sys/class/hwmon. What a number covers depends on the driver; the rules
// for those that are known are in Classify, and any other driver's sensor is taken for one supply rail.
#include <algorithm>
#include <limits>

#include "telemetry/power_sensor.h"
#include "telemetry/sysfs.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

// One monitor: a folder hwmon*.
struct Monitor {
  fs::path folder;
  std::string driver;   // its file `name`
  std::string address;  // PCI address of its device; empty if it is no PCI device
  std::string gpu;      // "gpu 0000:03:00.0 (card1)", if there is an address
};

// One channel: power<n> or energy<n>, with the file that is read.
struct MonitorChannel {
  fs::path file;
  std::string key;    // "power1"
  std::string label;  // its *_label file, or empty
  bool is_energy = false;
};

struct Extent {
  PowerSource source = PowerSource::kRail;
  std::string covers;
  std::string part_of;
};

bool Contains(const std::string& text, std::string_view word) { return text.find(word) != std::string::npos; }

Monitor OpenMonitor(const fs::path& folder) {
  Monitor monitor{.folder = folder, .driver = sysfs::ReadName(folder / "name")};
  monitor.address = sysfs::LinkName(folder / "device");
  if (!sysfs::IsPciAddress(monitor.address)) monitor.address.clear();
  if (monitor.address.empty()) return monitor;
  monitor.gpu = "gpu " + monitor.address;
  const std::vector<fs::path> cards = sysfs::Numbered(folder / "device/drm", "card");
  if (!cards.empty()) monitor.gpu += fmt::format(" ({})", cards.front().filename().string());
  return monitor;
}

Extent ClassifyIntelGpu(const Monitor& monitor, const MonitorChannel& channel) {
  // i915: the device's sensor is its package; one more for each tile is called i915_gt<n>.
  if (monitor.driver == "i915") return {PowerSource::kPackage, monitor.gpu, ""};
  if (monitor.driver == "xe" && (channel.label == "card" || (channel.label.empty() && channel.key.ends_with('1')))) {
    return {PowerSource::kBoard, monitor.gpu, ""};
  }
  if (monitor.driver == "xe" && (channel.label == "pkg" || (channel.label.empty() && channel.key.ends_with('2')))) {
    return {PowerSource::kPackage, monitor.gpu, "xe:" + monitor.address};
  }
  return {PowerSource::kRail,
          fmt::format("{} of {}", channel.label.empty() ? monitor.driver : channel.label, monitor.gpu), ""};
}

Extent Classify(const Monitor& monitor, const MonitorChannel& channel) {
  const std::string& driver = monitor.driver;
  if (driver == "amdgpu") {
    // What the kernel calls the SoC's power: of a processor with graphics it is the whole package. Only these show the
    // voltage of a north bridge.
    const bool is_integrated = sysfs::ReadName(monitor.folder / "in1_label") == "vddnb";
    if (is_integrated) return {PowerSource::kPackage, "cpu package with " + monitor.gpu, "rapl:package-0"};
    return {PowerSource::kPackage, monitor.gpu, ""};
  }
  if (!monitor.gpu.empty() && (driver == "xe" || driver.starts_with("i915"))) return ClassifyIntelGpu(monitor, channel);
  if (driver == "nouveau") return {PowerSource::kBoard, monitor.gpu, ""};
  const std::string name = channel.label.empty() ? channel.key : channel.label;
  if (driver == "amd_energy" && name.starts_with("Esocket")) {
    return {PowerSource::kPackage, "cpu package " + name.substr(std::string_view("Esocket").size()), ""};
  }
  if (driver == "zenpower" && Contains(name, "Package")) return {PowerSource::kPackage, "cpu package", ""};
  if (driver == "fam15h_power") return {PowerSource::kPackage, "cpu package", ""};
  if (driver == "power_meter") return {PowerSource::kBoard, "whole machine (ACPI power meter)", ""};
  if (driver == "corsairpsu" && Contains(name, "total"))
    return {PowerSource::kBoard, "whole machine (power supply)", ""};
  return {PowerSource::kRail, fmt::format("{} of {}", name, driver), ""};
}

std::vector<MonitorChannel> FindChannels(const Monitor& monitor) {
  std::vector<MonitorChannel> channels;
  const auto add = [&](const fs::path& file, std::string_view suffix, bool is_energy) {
    std::string key = file.filename().string();
    if (!key.ends_with(suffix)) return;
    key.resize(key.size() - suffix.size());
    const std::string label = sysfs::ReadName(monitor.folder / (key + "_label"));
    // One number for each extent: energy is exact where power is a sample, an average is better than a moment.
    const bool is_known = std::any_of(channels.begin(), channels.end(), [&](const MonitorChannel& known) {
      return known.key == key || (known.is_energy && !is_energy && known.label == label);
    });
    if (!is_known) channels.push_back({file, key, label, is_energy});
  };
  for (const fs::path& file : sysfs::Numbered(monitor.folder, "energy")) add(file, "_input", true);
  const std::vector<fs::path> power = sysfs::Numbered(monitor.folder, "power");
  for (const fs::path& file : power) add(file, "_average", false);
  for (const fs::path& file : power) add(file, "_input", false);
  return channels;
}

Result<PowerSample> ReadChannel(const fs::path& file, bool is_energy) {
  LEM_TRY(CheckAwake(file.parent_path() / "device"));
  if (is_energy) {
    LEM_ASSIGN_OR_RETURN(const uint64_t energy_uj, sysfs::ReadUnsigned(file, std::numeric_limits<uint64_t>::max()));
    return PowerSample{.energy_uj = energy_uj};
  }
  constexpr auto kMaxMicrowatts = static_cast<uint64_t>(kMaxPlausibleWatts * 1e6);
  LEM_ASSIGN_OR_RETURN(const uint64_t microwatts, sysfs::ReadUnsigned(file, kMaxMicrowatts));
  return PowerSample{.energy_uj = std::nullopt, .watts = static_cast<double>(microwatts) * 1e-6};
}

}  // namespace

std::vector<PowerSensor> FindHwmon(const fs::path& root) {
  std::vector<PowerSensor> sensors;
  for (const fs::path& folder : sysfs::Numbered(root / "sys/class/hwmon", "hwmon")) {
    const Monitor monitor = OpenMonitor(folder);
    if (monitor.driver.empty()) continue;
    // Batteries and chargers: what goes through them is not what the machine uses. LoadProbe reads them.
    if (sysfs::LinkName(folder / "device/subsystem") == "power_supply") continue;
    const std::string device =
        monitor.address.empty() ? "hwmon:" + monitor.driver : monitor.driver + ":" + monitor.address;
    bool is_first = true;
    for (const MonitorChannel& channel : FindChannels(monitor)) {
      if (monitor.driver == "amd_energy" && channel.label.starts_with("Ecore")) continue;  // up to hundreds
      const Extent extent = Classify(monitor, channel);
      PowerSensor sensor{.id = device, .covers = extent.covers, .part_of = extent.part_of, .source = extent.source};
      // A GPU's first sensor is the GPU.
      if (monitor.address.empty() || !is_first)
        sensor.id += "/" + (channel.label.empty() ? channel.key : channel.label);
      is_first = false;
      sensor.read = [file = channel.file, is_energy = channel.is_energy] { return ReadChannel(file, is_energy); };
      sensors.push_back(std::move(sensor));
    }
  }
  return sensors;
}

}  // namespace lem
