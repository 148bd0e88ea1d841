// How plans look: as JSON for programs, as tables for people.
#pragma once

#include <string>

#include "scheduler/placement_search.h"

namespace lem {

struct PlanReport {
  const CostModel& costs;
  const ModelWork& model;
  const RequestShape& request;
  const PlanDecision& decision;
  std::string quant;
  double solve_ms = 0;
};

std::string PlanJson(const PlanReport& report);
std::string PlanText(const PlanReport& report);

}  // namespace lem
