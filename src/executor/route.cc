#include "executor/route.h"

namespace lem {

Result<std::unique_ptr<Route>> Route::Create(const BoundGraph& model, const Placement& placement,
                                             const DeviceRegistry& devices, std::shared_ptr<PlacedWeights> weights) {
  auto route = std::make_unique<Route>();
  LEM_ASSIGN_OR_RETURN(route->placed_, PlacedModel::Create(model, placement, devices, std::move(weights)));
  return route;
}

Status Route::Compile(int64_t max_step_tokens, int64_t max_step_outputs, MemoryManager& memory) {
  const size_t num_executors = placed_->phases_are_alike() ? 1 : 2;
  for (size_t i = 0; i < num_executors; ++i) {
    const ShapeBucket largest{max_step_tokens, max_step_outputs, static_cast<Phase>(i)};
    LEM_ASSIGN_OR_RETURN(executors_[i], Executor::Create(*placed_, largest, memory));
  }
  return OkStatus();
}

}  // namespace lem
