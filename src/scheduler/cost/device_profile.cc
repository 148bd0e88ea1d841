#include "scheduler/cost/device_profile.h"

#include <algorithm>
#include <cmath>

namespace lem {
namespace {

const GemmCurve* FindCurve(const std::vector<GemmCurve>& curves, std::string_view weights) {
  const GemmCurve* any = nullptr;
  for (const GemmCurve& curve : curves) {
    if (curve.weights == weights) return &curve;
    if (curve.weights.empty()) any = &curve;
  }
  return any != nullptr || curves.empty() ? any : &curves.front();
}

const CopyRate* FindCopy(const std::vector<CopyRate>& copies, SpaceId from, SpaceId to) {
  const auto found =
      std::ranges::find_if(copies, [&](const CopyRate& copy) { return copy.from == from && copy.to == to; });
  return found == copies.end() ? nullptr : &*found;
}

bool AreRates(const std::vector<RatePoint>& points) {
  return std::ranges::is_sorted(points, {}, &RatePoint::rows) &&
         std::ranges::all_of(points, [](const RatePoint& p) { return p.tflops > 0 && p.rows > 0; });
}

// What is left of a card's or chip's reading for the device's own supply.
double ToRail(const DevicePower& power, double base_w) {
  // Below a tenth of the reading the subtraction says more about base_w than about the device.
  return power.source == PowerSource::kPackage ? std::max(power.busy_w - base_w, 0.1 * power.busy_w) : power.busy_w;
}

bool IsPackage(PowerSource source) { return source == PowerSource::kPackage || source == PowerSource::kBoard; }

}  // namespace

bool DeviceProfile::Guessed(std::string_view field) const { return std::ranges::find(guesses, field) != guesses.end(); }

int64_t DeviceProfile::PaddedRows(int64_t rows) const {
  if (row_buckets.empty()) return rows;
  const auto bucket = std::ranges::lower_bound(row_buckets, rows);
  if (bucket != row_buckets.end()) return *bucket;
  const int64_t largest = row_buckets.back();
  return (rows + largest - 1) / largest * largest;
}

double DeviceProfile::GemmTflops(std::string_view weights, double rows, Phase phase) const {
  const bool answers = phase == Phase::kDecode && !answer_gemm.empty();
  const GemmCurve* const curve = FindCurve(answers ? answer_gemm : gemm, weights);
  return curve == nullptr || curve->points.empty() ? 0 : RateAt(curve->points, rows);
}

double RateAt(const std::vector<RatePoint>& points, double rows) {
  const auto above = std::ranges::lower_bound(points, rows, {}, &RatePoint::rows);
  if (above == points.begin()) return points.front().tflops;
  if (above == points.end()) return points.back().tflops;
  const RatePoint& low = *std::prev(above);
  const double share = std::log(rows / low.rows) / std::log(above->rows / low.rows);
  return low.tflops + share * (above->tflops - low.tflops);
}

int MachineProfile::Find(std::string_view device_id) const {
  const auto found = std::ranges::find(devices, device_id, &DeviceProfile::id);
  return found == devices.end() ? -1 : static_cast<int>(found - devices.begin());
}

double MachineProfile::CopyMs(SpaceId from, SpaceId to, double bytes) const {
  if (from == to) return 0;
  const auto one = [bytes](const CopyRate& copy) { return copy.latency_us * 1e-3 + bytes / (copy.gbs * 1e6); };
  if (const CopyRate* direct = FindCopy(copies, from, to)) return one(*direct);
  // 10 GB/s, a slow bus, where nothing is known.
  const CopyRate unknown{.gbs = 10, .latency_us = 20};
  const CopyRate* const out = FindCopy(copies, from, kHostSpace);
  const CopyRate* const in = FindCopy(copies, kHostSpace, to);
  return (from == kHostSpace ? 0 : one(out ? *out : unknown)) + (to == kHostSpace ? 0 : one(in ? *in : unknown));
}

bool MachineProfile::OneSpace() const {
  return std::ranges::all_of(devices, [&](const DeviceProfile& d) { return d.space == devices.front().space; });
}

PowerView ViewPower(MachineProfile machine, PowerSource source) {
  PowerView view{.source = source, .known = true};
  if (source == PowerSource::kUnavailable) {
    for (const DeviceProfile& device : machine.devices) {
      const PowerSource its = device.power.source;
      if (its == PowerSource::kUnavailable) continue;
      view.source = view.source == PowerSource::kUnavailable || view.source == its ? its : PowerSource::kPackage;
    }
  }
  for (DeviceProfile& device : machine.devices) {
    DevicePower& power = device.power;
    view.known &= power.busy_w > 0 || power.j_per_mac > 0;
    if (power.source == view.source || power.source == PowerSource::kUnavailable) {
      // A package reading holds the base already: it is booked once for the machine.
      if (power.source == PowerSource::kPackage) power.busy_w = ToRail(power, machine.base_w);
      continue;
    }
    view.converted = true;
    // A card's own board is inside its reading whichever way one looks at it.
    power.busy_w = ToRail(power, machine.base_w);
    power.source = PowerSource::kModelled;
  }
  if (!IsPackage(view.source) || view.source == PowerSource::kBoard) machine.base_w = 0;
  view.machine = std::move(machine);
  return view;
}

Status CheckProfile(const MachineProfile& machine) {
  if (machine.devices.empty()) return InvalidArgument("machine '{}' has no devices", machine.id);
  for (const DeviceProfile& device : machine.devices) {
    const auto wrong = [&](std::string_view what) {
      return InvalidArgument("machine '{}', device '{}': {}", machine.id, device.id, what);
    };
    if (machine.Find(device.id) != &device - machine.devices.data()) return wrong("two devices have this id");
    if (!(device.bandwidth_gbs > 0)) return wrong("its bandwidth must be above 0");
    if (device.gemm.empty()) return wrong("it has no rates of matrix products");
    for (const std::vector<GemmCurve>* curves : {&device.gemm, &device.answer_gemm}) {
      if (!std::ranges::all_of(*curves, [](const GemmCurve& c) { return !c.points.empty() && AreRates(c.points); })) {
        return wrong("its rates of matrix products must be above 0 and given by rising rows");
      }
    }
    if (!std::ranges::all_of(device.attention, AreRates)) {
      return wrong("its rates of attention must be above 0 and given by rising rows");
    }
    if (!std::ranges::is_sorted(device.row_buckets) || (!device.row_buckets.empty() && device.row_buckets[0] < 1)) {
      return wrong("its buckets must be rising and at least 1");
    }
    if (device.max_step_rows < 1) return wrong("its largest step must be at least 1");
  }
  return OkStatus();
}

}  // namespace lem
