// lem-bench predict: steps of a real model on one device, predicted from this machine's profile and measured.
#pragma once

#include <CLI/App.hpp>
#include <filesystem>
#include <string>

#include "base/status.h"

namespace lem {

struct PredictBenchOptions {
  std::filesystem::path model;
  std::string device = "cpu";
  int num_threads = 0;
  int num_repeats = 7;
  double max_step_s = 60;  // steps that are predicted to take longer are left out, and counted
  int correct_steps = 0;   // see RunPredictBench
  bool json = false;
};

// Steps of shapes that no profile measures; repeats of all of them take turns. With `correct_steps` the corrections are
// watched instead: so many steps alone, twice as many while a second process takes a core; each is predicted, run and
// observed. Prints what came out. Errors: NotFound (no profile, or no such device in it), those of loading and running.
Status RunPredictBench(const PredictBenchOptions& options);

CLI::App* AddPredictCommand(CLI::App& app, PredictBenchOptions& options);

}  // namespace lem
