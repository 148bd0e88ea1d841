// Any bytes are either refused with a reason or machines for which plans can be made, in numbers that are finite.
#include <cmath>
#include <cstdlib>

#include "scheduler/placement_search.h"
#include "simulator/llm_points.h"
#include "simulator/model_shapes.h"
#include "simulator/soc_profiles.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto points = lem::ParseLlmPoints(text, "points.csv");
  if (!points.ok() && points.status().message().empty()) std::abort();
  const auto machines = lem::ParseSocProfiles(text, "profiles.csv");
  if (!machines.ok()) {
    if (machines.status().message().empty()) std::abort();
    return 0;
  }
  static const lem::ModelWork kModel =
      lem::WorkOfShape(**lem::FindModelShape("llama-3.2-1b"), **lem::FindQuant("q4_0"));
  for (const lem::MachineProfile& machine : *machines) {
    if (machine.devices.size() > 3) continue;  // slow, not wrong
    const auto costs = lem::CostModel::Create(machine);
    if (!costs.ok()) std::abort();
    const auto decision = lem::SearchPlacement(*costs, kModel, {.prompt_tokens = 300, .max_tokens = 10});
    if (!decision.ok() || !std::isfinite(decision->best.ms()) || !std::isfinite(decision->best.joules())) std::abort();
    if (!lem::ParsePlacement(lem::FormatPlacement(decision->best.placement)).ok()) std::abort();
  }
  return 0;
}
