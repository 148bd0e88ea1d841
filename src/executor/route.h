// A way through a model that is ready to run: the model placed on devices, and the executors of both phases.
#pragma once

#include <array>
#include <memory>

#include "executor/executor.h"

namespace lem {

class Route {
 public:
  // Places the weights. Errors: as PlacedModel::Create.
  static Result<std::unique_ptr<Route>> Create(const BoundGraph& model, const Placement& placement,
                                               const DeviceRegistry& devices, std::shared_ptr<PlacedWeights> weights);
  // Errors: as Executor::Create.
  Status Compile(int64_t max_step_tokens, int64_t max_step_outputs, MemoryManager& memory);

  const PlacedModel& placed() const { return *placed_; }
  // REQUIRES: compiled.
  Executor& executor(Phase phase) { return *executors_[placed_->phases_are_alike() ? 0 : static_cast<size_t>(phase)]; }

 private:
  std::unique_ptr<PlacedModel> placed_;
  std::array<std::unique_ptr<Executor>, 2> executors_;  // by phase; the second is null if the phases are alike
};

}  // namespace lem
