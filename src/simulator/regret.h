// How much worse than the best plan the planner's plans are when the world is not what it believes: every device's
// speed at every kind of work, its switches and what two devices do to each other are off by a random factor that it
// can only learn from the plans that it ran.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "scheduler/placement_search.h"

namespace lem {

struct RegretOptions {
  int num_cases = 200;
  int num_steps = 50;  // plans run, observed and learned from, a case
  uint64_t seed = 1;
  double perturbation = 0.3;  // true times are 0.7 to 1.3 of those believed
  double noise = 0.02;        // standard deviation of log(measured / true)
  double optimism = 1.5;      // standard deviations by which unseen work is hoped to be faster
};

struct RegretCase {
  std::string soc, model, quant;
  RequestShape request;
  Goal goal = Goal::kLatency;
  double first = 0;             // regret before anything was measured
  double last = 0;              // after num_steps
  double mean = 0;              // of the plans that were run
  std::string plan, best_plan;  // chosen at last, and by true cost
};

struct RegretReport {
  std::vector<RegretCase> cases;
  double first_mean = 0, first_worst = 0;
  double last_mean = 0, last_worst = 0;
  double run_mean = 0;          // over all plans that were run while learning
  std::vector<double> by_step;  // mean regret of the plans run at each step
  int64_t num_searches = 0;
};

// Cases are drawn from the SoCs with more than one device, all models and formats that fit each other, prompts of 64 to
// 8192 and answers of 16 to 1024 tokens, and the three goals. The same seed gives the same report. `progress` is called
// after each case. Errors: none that the tables built in can cause.
Result<RegretReport> MeasureRegret(const RegretOptions& options, const std::function<void(int)>& progress = {});

}  // namespace lem
