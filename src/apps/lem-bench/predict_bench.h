// lem-bench predict: steps of a real model on one device, predicted from this machine's profile and measured.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "scheduler/cost/cost_model.h"

namespace lem {

struct PredictBenchResult {
  StepShape shape;
  double predicted_ms = 0;
  double measured_ms = 0;  // median, at the speed that the machine had when it was profiled
  double error() const { return predicted_ms / measured_ms - 1; }
};

// Repeats of all shapes take turns. Errors: NotFound (no profile, or no such device in it), those of loading and
// running.
Result<std::vector<PredictBenchResult>> RunPredictBench(const std::filesystem::path& model, const std::string& device,
                                                        int num_threads, int num_repeats);

}  // namespace lem
