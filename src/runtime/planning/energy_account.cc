#include "runtime/planning/energy_account.h"

#include <algorithm>

#include "base/duration.h"
#include "runtime/planning/step_predictor.h"

namespace lem {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(100);
constexpr double kLongestS = 10;  // between two readings that say something of now

}  // namespace

void Energy::Add(double more, PowerSource its_source) {
  joules += more;
  source = source && *source != its_source ? PowerSource::kUnavailable : its_source;
}

EnergyAccount::EnergyAccount(const CostModel& costs) {
  if (!costs.power().known) return;
  for (int i = 0; i < costs.num_devices(); ++i) {
    const DeviceProfile& device = costs.device(i);
    if (device.power.busy_w > 0) device_watts_[device.id] = device.power.busy_w;
  }
}

void EnergyAccount::Open(const std::filesystem::path& root) {
  PowerProbe probe = PowerProbe::Open(root);
  const auto readings = probe.Read(std::chrono::steady_clock::now());
  const bool any = std::ranges::any_of(
      readings, [](const PowerReading& reading) { return reading.source != PowerSource::kUnavailable; });
  if (any) probe_.emplace(std::move(probe));
}

void EnergyAccount::Sample() {
  const auto now = std::chrono::steady_clock::now();
  if (!probe_ || now - read_at_ < kInterval) return;
  double joules = 0;
  PowerSource source = PowerSource::kUnavailable;
  const std::vector<PowerReading> readings = probe_->Read(now);
  // Packages and cards add up to the machine; the broadest of them says what the sum is. A rail is a part of a package,
  // or of nothing that is read: it counts where there is nothing else.
  for (const bool rails : {false, true}) {
    if (source != PowerSource::kUnavailable) break;
    for (const PowerReading& reading : readings) {
      const auto whole = std::ranges::find(readings, reading.part_of, &PowerReading::id);
      const bool is_part = whole != readings.end() && whole->source != PowerSource::kUnavailable;
      if (reading.source == PowerSource::kUnavailable || is_part) continue;
      if ((reading.source == PowerSource::kRail) != rails) continue;
      joules += reading.joules;
      source = std::max(source, reading.source);
    }
  }
  const double seconds = MillisecondsBetween(read_at_, now) * 1e-3;
  if (source == PowerSource::kUnavailable) {
    source_.store(source);
  } else if (joules > joules_ && seconds < kLongestS) {
    watts_.store((joules - joules_) / seconds);
    source_.store(source);
  }
  joules_ = joules;
  read_at_ = now;
}

std::pair<double, PowerSource> EnergyAccount::OfStep(const Engine::BatchRun& run) const {
  const PowerSource source = source_.load();
  if (source != PowerSource::kUnavailable) return {watts_.load() * WallMs(run.timings) * 1e-3, source};
  const Plan& plan = run.route->placed().plan(run.phase);
  double joules = 0;
  for (size_t i = 0; i < run.timings.size(); ++i) {
    const auto watts = device_watts_.find(plan.steps[i].device_id);
    if (watts == device_watts_.end()) return {0, PowerSource::kUnavailable};
    joules += watts->second * MillisecondsBetween(run.timings[i].begin, run.timings[i].end) * 1e-3;
  }
  return {joules, PowerSource::kModelled};
}

}  // namespace lem
