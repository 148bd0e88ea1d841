#include "runtime/profile/device_power.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace lem {
namespace {

constexpr double kMinSeconds = 0.05;

// Beginnings of sensors' ids (telemetry/power_probe.h), the nearest to the device first. A processor that has no sensor
// of its own is inside of the package.
std::span<const std::string_view> SensorsOf(const DeviceCaps& caps) {
  static constexpr std::array<std::string_view, 2> kCpu{"rapl:package", "zenpower"};
  static constexpr std::array<std::string_view, 6> kGpu{"nvml:", "amdgpu:", "xe:", "i915:", "rapl:package", "zenpower"};
  static constexpr std::array<std::string_view, 2> kNpu{"amdxdna:", "rapl:package"};
  if (caps.emulated || caps.kind == DeviceKind::kCpu) return kCpu;
  return caps.kind == DeviceKind::kGpu ? std::span<const std::string_view>(kGpu) : kNpu;
}

const EnergyUse* Find(const PowerSpan& span, std::string_view id) {
  const auto found = std::ranges::find(span.uses, id, &EnergyUse::id);
  return found == span.uses.end() || found->source == PowerSource::kUnavailable ? nullptr : &*found;
}

}  // namespace

DevicePower PowerOf(const DeviceCaps& caps, const PowerSpan& idle, const PowerSpan& busy) {
  if (idle.seconds < kMinSeconds || busy.seconds < kMinSeconds) return {};
  for (const std::string_view prefix : SensorsOf(caps)) {
    for (const EnergyUse& use : busy.uses) {
      if (!use.id.starts_with(prefix) || use.source == PowerSource::kUnavailable || use.joules <= 0) continue;
      const EnergyUse* const before = Find(idle, use.id);
      if (before == nullptr) continue;
      const double busy_w = use.joules / busy.seconds;
      return {.source = use.source, .idle_w = std::min(before->joules / idle.seconds, busy_w), .busy_w = busy_w};
    }
  }
  return {};
}

}  // namespace lem
