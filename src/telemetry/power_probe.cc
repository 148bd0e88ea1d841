#include "telemetry/power_probe.h"

#include <algorithm>
#include <iterator>
#include <mutex>
#include <set>
#include <utility>

#include "base/check.h"
#include "telemetry/power_sensor.h"
#include "telemetry/sysfs.h"

namespace lem {
namespace {

using std::chrono::duration;
using TimePoint = PowerProbe::TimePoint;

// RAPL steps every millisecond, NVML's energy every 20 to 100: over shorter times a mean is noise.
constexpr duration<double> kMinWindow{0.02};

// Joules that a counter went on by; nothing if it was restarted.
std::optional<double> CounterJoules(uint64_t before_uj, uint64_t now_uj, uint64_t max_energy_uj, double seconds) {
  uint64_t delta_uj = now_uj - before_uj;
  if (now_uj < before_uj) {
    if (max_energy_uj < before_uj) return std::nullopt;
    delta_uj = max_energy_uj - before_uj + now_uj;
  }
  const double joules = static_cast<double>(delta_uj) * 1e-6;
  // A counter that a suspend or a driver's restart set to 0 looks like a wrap with a huge step.
  if (joules > kMaxPlausibleWatts * std::max(seconds, 1.0)) return std::nullopt;
  return joules;
}

// A sensor and its sums. `live`: the last sample was good, so the next one can be compared with it.
struct Channel {
  explicit Channel(PowerSensor from) : sensor(std::move(from)) {
    reading.id = sensor.id;
    reading.covers = sensor.covers;
    reading.part_of = sensor.part_of;
  }

  void Update(TimePoint now) {
    const Result<PowerSample> sample = sensor.read();
    if (!sample.ok()) {
      if (live) ++reading.num_gaps;
      live = false;
      reading.source = PowerSource::kUnavailable;
      reading.watts.reset();
      reading.why_unavailable = sample.status().message();
      return;
    }
    reading.source = sensor.source;
    reading.why_unavailable.clear();
    if (!live) {
      Restart(*sample, now);
    } else if (sample->energy_uj) {
      AddEnergy(*sample, now);
    } else {
      AddWatts(*sample, now);
    }
    live = true;
    last = *sample;
    last_time = std::max(last_time, now);
  }

  void Restart(const PowerSample& sample, TimePoint now) {
    window_start = last_time = now;
    window_joules = 0;
    reading.watts = sample.energy_uj ? std::nullopt : std::optional<double>(sample.watts);
  }

  void AddEnergy(const PowerSample& sample, TimePoint now) {
    const double seconds = duration<double>(now - last_time).count();
    const std::optional<double> joules =
        CounterJoules(last.energy_uj.value_or(0), *sample.energy_uj, sensor.max_energy_uj, seconds);
    if (!joules) {
      ++reading.num_gaps;
      Restart(sample, now);
      return;
    }
    reading.joules += *joules;
    window_joules += *joules;
    const duration<double> window = now - window_start;
    if (window < kMinWindow) return;
    reading.watts = window_joules / window.count();
    window_start = now;
    window_joules = 0;
  }

  void AddWatts(const PowerSample& sample, TimePoint now) {
    const double seconds = duration<double>(now - last_time).count();
    reading.joules += (last.watts + sample.watts) / 2 * std::max(seconds, 0.0);
    reading.watts = sample.watts;
  }

  PowerSensor sensor;
  PowerReading reading;
  bool live = false;
  PowerSample last;
  TimePoint last_time, window_start;
  double window_joules = 0;
};

}  // namespace

PowerSensor UnreadableSensor(std::string id, std::string covers, Status why) {
  PowerSensor sensor;
  sensor.id = std::move(id);
  sensor.covers = std::move(covers);
  sensor.read = [why = std::move(why)]() -> Result<PowerSample> { return why; };
  return sensor;
}

Status CheckAwake(const std::filesystem::path& device_folder) {
  if (sysfs::ReadName(device_folder / "power/runtime_status") != "suspended") return OkStatus();
  return Unavailable("no answer: the device sleeps, and reading its power would wake it up");
}

struct PowerProbe::Impl {
  std::mutex mutex;
  std::vector<Channel> channels;
};

PowerProbe::PowerProbe(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PowerProbe::PowerProbe(PowerProbe&& other) noexcept = default;
PowerProbe& PowerProbe::operator=(PowerProbe&& other) noexcept = default;
PowerProbe::~PowerProbe() = default;

PowerProbe PowerProbe::Open(const std::filesystem::path& root) {
  return Open(root, root == "/" ? "libnvidia-ml.so.1" : "");
}

PowerProbe PowerProbe::Open(const std::filesystem::path& root, const std::string& nvml_library) {
  std::vector<PowerSensor> sensors = FindRapl(root);
  for (std::vector<PowerSensor> more : {FindHwmon(root), FindAmdxdna(root), FindNvml(root, nvml_library)}) {
    std::move(more.begin(), more.end(), std::back_inserter(sensors));
  }
  if (sensors.empty()) {
    sensors.push_back(UnreadableSensor("machine", "whole machine",
                                       NotFound("no sensor: the system shows no RAPL, hwmon, amdxdna or NVML counter, "
                                                "as is usual in virtual machines and containers")));
  }
  auto impl = std::make_unique<Impl>();
  std::set<std::string> ids;
  for (PowerSensor& sensor : sensors) {
    const std::string id = sensor.id;
    for (int copy = 2; !ids.insert(sensor.id).second; ++copy) sensor.id = fmt::format("{}#{}", id, copy);
  }
  for (PowerSensor& sensor : sensors) {
    if (!ids.contains(sensor.part_of)) sensor.part_of.clear();
    impl->channels.emplace_back(std::move(sensor));
  }
  return PowerProbe(std::move(impl));
}

std::vector<PowerReading> PowerProbe::Read(TimePoint now) {
  const std::lock_guard lock(impl_->mutex);
  std::vector<PowerReading> readings;
  readings.reserve(impl_->channels.size());
  for (Channel& channel : impl_->channels) {
    channel.Update(now);
    readings.push_back(channel.reading);
  }
  return readings;
}

EnergyMeter::EnergyMeter(PowerProbe& probe, TimePoint now) : probe_(&probe), begin_(probe.Read(now)) {}

void EnergyMeter::Sample(TimePoint now) { (void)probe_->Read(now); }

std::vector<EnergyUse> EnergyMeter::Read(TimePoint now) {
  std::vector<EnergyUse> uses;
  const std::vector<PowerReading> end = probe_->Read(now);
  LEM_CHECK(end.size() == begin_.size());
  for (size_t i = 0; i < end.size(); ++i) {
    const PowerReading& before = begin_[i];
    const PowerReading& after = end[i];
    EnergyUse use{.id = after.id, .covers = after.covers, .part_of = after.part_of};
    if (after.source == PowerSource::kUnavailable) {
      use.why_unavailable = after.why_unavailable;
    } else if (before.source == PowerSource::kUnavailable) {
      use.why_unavailable = fmt::format("not there at the beginning: {}", before.why_unavailable);
    } else if (after.num_gaps != before.num_gaps) {
      use.why_unavailable = "lost or restarted meanwhile";
    } else {
      use.source = after.source;
      use.joules = after.joules - before.joules;
    }
    uses.push_back(std::move(use));
  }
  return uses;
}

}  // namespace lem
