#include "runtime/profile/planner.h"

#include <chrono>

#include "base/cpu_info.h"
#include "base/duration.h"

namespace lem {
namespace {

// The CPU by rules of thumb: with nothing measured there is nothing to choose between.
MeasuredMachine GuessedMachine() {
  constexpr double kGflopsACore = 40, kOneRowGflopsACore = 10;
  const CpuInfo& cpu = GetCpuInfo();
  DeviceProfile device;
  device.id = device.kind = "cpu";
  device.name = cpu.brand;
  device.gemm = {{"", {{1, kOneRowGflopsACore * 1e-3 * cpu.num_cpus}, {128, kGflopsACore * 1e-3 * cpu.num_cpus}}}};
  device.bandwidth_gbs = 10;
  device.launch_us = 5;
  device.log_error = 0.7;
  device.guesses = {"everything: run `lem profile`"};
  MeasuredMachine machine;
  machine.profile.id = MachineIdentity();
  machine.profile.source = "priors";
  machine.profile.devices = {std::move(device)};
  machine.residuals.resize(1);
  machine.fit_error.resize(1);
  return machine;
}

}  // namespace

Result<ModelWork> WorkOfModel(const Model& model) {
  std::vector<WeightSize> weights;
  weights.reserve(model.bound_weights.size());
  for (const WeightHandle handle : model.bound_weights) {
    weights.push_back({model.weights.host_bytes(handle).size(), GetDTypeInfo(model.weights.desc(handle).dtype).name});
  }
  LEM_ASSIGN_OR_RETURN(ModelWork work, WorkOfGraph(model.graph, weights));
  if (!model.config.name.empty()) work.name = model.config.name;
  return work;
}

Result<MeasuredMachine> KnownMachine(const std::filesystem::path& folder, DeviceClock clock) {
  if (folder.empty()) return GuessedMachine();
  Result<MeasuredMachine> machine = LoadMachine(folder, clock);
  if (machine.ok() || machine.status().code() != StatusCode::kNotFound) return machine;
  return GuessedMachine();
}

Result<ModelPlan> PlanRequest(const MeasuredMachine& machine, const Model& model, const RequestShape& request,
                              const SearchOptions& options) {
  LEM_ASSIGN_OR_RETURN(CostModel costs, machine.MakeCostModel());
  LEM_ASSIGN_OR_RETURN(ModelWork work, WorkOfModel(model));
  const auto begin = std::chrono::steady_clock::now();
  LEM_ASSIGN_OR_RETURN(PlanDecision decision, SearchPlacement(costs, work, request, options));
  const double solve_ms = MillisecondsSince(begin);
  return ModelPlan{std::move(costs), std::move(work), std::move(decision), solve_ms};
}

}  // namespace lem
