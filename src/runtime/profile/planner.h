// Chooses placements for loaded models on this machine, from what `lem profile` measured.
#pragma once

#include "models/model.h"
#include "runtime/profile/measured_machine.h"
#include "scheduler/placement_search.h"

namespace lem {

// Errors: as WorkOfGraph.
Result<ModelWork> WorkOfModel(const Model& model);

// The machine as it was measured or, without a measurement, the CPU alone by a guess that says so.
// Errors: of a profile that cannot be read, with its path. An empty folder has none.
Result<MeasuredMachine> KnownMachine(const std::filesystem::path& folder, DeviceClock clock);

// A request to a model on a machine, planned; with what the plan was priced by, for reports.
struct ModelPlan {
  CostModel costs;
  ModelWork work;
  PlanDecision decision;
  double solve_ms = 0;  // of the search alone
};
// Errors: as WorkOfModel, CostModel::Create and SearchPlacement.
Result<ModelPlan> PlanRequest(const MeasuredMachine& machine, const Model& model, const RequestShape& request,
                              const SearchOptions& options = {});

}  // namespace lem
