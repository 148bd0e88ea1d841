// The record of steps: the devices' timelines, predicted beside measured, and how far predictions are off.
// Not thread-safe.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "runtime/planning/plan_info.h"
#include "runtime/planning/step_predictor.h"

namespace lem {

class StepRecords {
 public:
  // Of one submission; `predicted` by segments, 0 where nothing is known of the device.
  void Add(const std::string& model, const Engine::BatchRun& run, const StepLoad& load,
           const std::vector<double>& predicted);

  std::vector<TraceSpan> Trace() const;  // the latest thousands, in order of time
  std::vector<PredictionStats> Predictions() const;

 private:
  const StepTiming::TimePoint begin_ = std::chrono::steady_clock::now();
  std::deque<TraceSpan> trace_;
  std::map<std::pair<std::string, Phase>, PredictionStats> predictions_;
};

}  // namespace lem
