// Which made-up models and which steps are measured of a device: chosen so that real models lie between them.
#pragma once

#include <vector>

#include "runtime/profile/probe_model.h"
#include "scheduler/cost/cost_model.h"

namespace lem {

struct ProbeStep {
  StepShape shape;
  int64_t first_position = 0;  // of each sequence
};

struct ProbeDesign {
  ProbeShape model;
  double share = 1;              // of the time, beside the others
  std::vector<ProbeStep> steps;  // what matters most first: slow devices do not come to the end
};

// Largest values in the steps below.
inline constexpr int64_t kMaxProbeRows = 256, kMaxProbeSequences = 16, kMaxProbeContext = 2048;

// Cheapest first. `cold`: models of as many layers as real ones have, so that weights come from where they come from in
// real models; without it one layer each, for devices to which that makes no difference.
std::vector<ProbeDesign> ProbeDesigns(bool cold);

}  // namespace lem
