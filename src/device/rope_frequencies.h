// Rotary frequencies of a graph's RopeSpecs, computed once for every device alike.
#pragma once

#include <vector>

#include "device/device.h"

namespace lem {

// frequencies[rope][pair]: radians per position, [ropes][rotary_dim / 2]. Errors: Unimplemented (factors are not F32).
Result<std::vector<std::vector<double>>> RopeFrequencies(const BoundGraph& model);

}  // namespace lem
