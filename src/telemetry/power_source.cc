#include "telemetry/power_source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

namespace lem {
namespace {

constexpr std::string_view kNames[] = {"unavailable", "rail", "package", "board", "modelled"};  // in the enum's order

}  // namespace

std::string_view PowerSourceName(PowerSource source) { return kNames[static_cast<size_t>(source)]; }

Result<PowerSource> ParsePowerSource(std::string_view name) {
  const auto* const found = std::ranges::find(kNames, name);
  if (found == std::end(kNames)) {
    return InvalidArgument("'{}' is no source of power readings; allowed: {}", name, fmt::join(kNames, ", "));
  }
  return static_cast<PowerSource>(found - kNames);
}

}  // namespace lem
