// Holds the steps of a model's routes against the cost model: what each part of a plan should have taken, and what it
// did take. What is measured teaches the cost model.
#pragma once

#include <vector>

#include "engine/engine.h"
#include "scheduler/cost/cost_model.h"

namespace lem {

// One plan step of a route in the terms of the cost model.
struct PlannedSegment {
  int device = -1;             // index into the machine's devices; -1 = not in the profile
  std::vector<int32_t> parts;  // classes of the model's work, again for each layer
  double share = 1;            // of the parts' rows of weights that it has
};
// By steps of the route's plan for a phase.
std::vector<PlannedSegment> SegmentsOf(const PlacedModel& placed, Phase phase, const ModelWork& work,
                                       const MachineProfile& machine);

// A submission as the cost model counts it.
struct StepLoad {
  StepShape shape;
  double output_rows = 0;
};
StepLoad LoadOf(const Engine::BatchRun& run);

// By segments; 0 for devices that the machine's profile does not have.
std::vector<double> PredictSegments(const CostModel& costs, const ModelWork& work,
                                    const std::vector<PlannedSegment>& segments, const StepLoad& load);

// From the begin of a submission to its end.
double WallMs(const std::vector<StepTiming>& timings);

// Teaches what `run` took. Times that are not known exactly teach nothing.
void ObserveRun(CostModel& costs, const ModelWork& work, const std::vector<PlannedSegment>& segments,
                const StepLoad& load, const std::vector<StepTiming>& timings);

}  // namespace lem
