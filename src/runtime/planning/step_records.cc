#include "runtime/planning/step_records.h"

#include <algorithm>
#include <cmath>

#include "base/duration.h"

namespace lem {
namespace {

constexpr size_t kMaxSpans = 8192;
constexpr double kNewest = 0.05;  // weight of the newest step in the error

}  // namespace

void StepRecords::Add(const std::string& model, const Engine::BatchRun& run, const StepLoad& load,
                      const std::vector<double>& predicted) {
  const Plan& plan = run.route->placed().plan(run.phase);
  for (size_t i = 0; i < run.timings.size(); ++i) {
    const StepTiming& timing = run.timings[i];
    const double ms = MillisecondsBetween(timing.begin, timing.end);
    TraceSpan span{.device = plan.steps[i].device_id,
                   .model = model,
                   .phase = load.shape.phase == Phase::kPrefill ? "prefill" : "decode",
                   .begin_us = std::chrono::duration_cast<std::chrono::microseconds>(timing.begin - begin_).count(),
                   .measured_ms = ms,
                   .predicted_ms = predicted[i],
                   .exact = timing.exact,
                   .rows = static_cast<int64_t>(load.shape.rows),
                   .sequences = static_cast<int64_t>(load.shape.sequences)};
    if (timing.exact && ms > 0 && predicted[i] > 0) {
      PredictionStats& stats = predictions_[{span.device, load.shape.phase}];
      stats.device = span.device;
      stats.phase = span.phase;
      ++stats.steps;
      stats.measured_seconds += ms * 1e-3;
      stats.predicted_seconds += predicted[i] * 1e-3;
      stats.error +=
          std::max(kNewest, 1.0 / static_cast<double>(stats.steps)) * (std::abs(predicted[i] / ms - 1) - stats.error);
    }
    if (trace_.size() >= kMaxSpans) trace_.pop_front();
    trace_.push_back(std::move(span));
  }
}

std::vector<TraceSpan> StepRecords::Trace() const {
  std::vector<TraceSpan> spans(trace_.begin(), trace_.end());
  std::ranges::sort(spans, {}, &TraceSpan::begin_us);
  return spans;
}

std::vector<PredictionStats> StepRecords::Predictions() const {
  std::vector<PredictionStats> all;
  all.reserve(predictions_.size());
  for (const auto& [key, stats] : predictions_) all.push_back(stats);
  return all;
}

}  // namespace lem
