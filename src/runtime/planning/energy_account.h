// What requests cost in joules: what the machine's counters read or, where there are none, what the profile says of the
// devices that worked.
#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "engine/engine.h"
#include "scheduler/cost/cost_model.h"
#include "telemetry/power_probe.h"

namespace lem {

struct Energy {
  double joules = 0;
  std::optional<PowerSource> source;  // of all of it; empty before the first step
  // One source for the whole, or none.
  void Add(double more, PowerSource its_source);
};

// Open and Sample are for one thread, OfStep for any.
class EnergyAccount {
 public:
  // Watts of devices from what the costs know.
  explicit EnergyAccount(const CostModel& costs);

  // Looks for counters; may take a second.
  void Open(const std::filesystem::path& root);
  // Reads them, at most ten times a second.
  void Sample();

  // Of one submission; kUnavailable if nobody knows.
  std::pair<double, PowerSource> OfStep(const Engine::BatchRun& run) const;

 private:
  std::map<std::string, double, std::less<>> device_watts_;  // at work, by device id; of those that are known
  std::optional<PowerProbe> probe_;                          // empty: nothing can be read
  PowerProbe::TimePoint read_at_{};
  double joules_ = 0;  // of the latest reading
  // Of the whole machine by now; kUnavailable where nothing is read.
  std::atomic<double> watts_{0};
  std::atomic<PowerSource> source_{PowerSource::kUnavailable};
};

}  // namespace lem
