// Where watts and joules come from. Readings of different sources differ by up to 10x and are never compared as they
// are.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace lem {

enum class PowerSource : uint8_t {
  kUnavailable,  // no number
  kRail,         // one supply line or domain of a chip: cores, NPU, memory
  kPackage,      // a whole chip: every processor in it and its caches
  kBoard,        // a card or the machine, with memory and losses of conversion
  kModelled,     // not read: converted from another source, or taken from a device of the same kind
};

std::string_view PowerSourceName(PowerSource source);  // "unavailable", "rail", "package", "board", "modelled"
// Errors: InvalidArgument naming the sources.
Result<PowerSource> ParsePowerSource(std::string_view name);

}  // namespace lem
