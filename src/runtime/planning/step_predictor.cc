#include "runtime/planning/step_predictor.h"

#include <algorithm>
#include <set>

#include "base/duration.h"

namespace lem {
namespace {

int32_t ClassOf(const Op& op, const ModelWork& work) {
  switch (op.part) {
    case Part::kEmbedding:
      return work.embedding;
    case Part::kAttention:
      return work.attention[static_cast<size_t>(op.layer)];
    case Part::kFeedForward:
      return work.feed_forward[static_cast<size_t>(op.layer)];
    case Part::kHead:
      return work.head;
  }
  return work.head;
}

bool IsCut(const std::vector<PlannedSegment>& segments) {
  return std::ranges::any_of(segments, [](const PlannedSegment& segment) { return segment.share < 1; });
}

// Of a placement that cuts matrices by rows: the two devices, rest first.
std::pair<int, int> DevicesOfCut(const std::vector<PlannedSegment>& segments) {
  std::pair<int, int> devices{-1, -1};
  for (const PlannedSegment& segment : segments) {
    if (devices.first < 0) devices.first = segment.device;
    if (segment.device != devices.first) devices.second = segment.device;
  }
  return devices;
}

}  // namespace

std::vector<PlannedSegment> SegmentsOf(const PlacedModel& placed, Phase phase, const ModelWork& work,
                                       const MachineProfile& machine) {
  std::vector<PlannedSegment> segments;
  const PlacementClause* rows = placed.placement().Rows();
  if (rows != nullptr && rows->phase && *rows->phase != phase) rows = nullptr;
  for (const PlanStep& step : placed.plan(phase).steps) {
    PlannedSegment segment{.device = machine.Find(step.device_id)};
    std::set<std::pair<Part, int32_t>> seen;
    bool has_matrix = false;
    for (int32_t i = step.segment.op_begin; i < step.segment.op_end; ++i) {
      const Op& op = placed.graph().ops[static_cast<size_t>(i)];
      has_matrix = has_matrix || !OpWeights(op.body).empty();
      if (seen.emplace(op.part, op.layer).second) segment.parts.push_back(ClassOf(op, work));
    }
    if (rows != nullptr) {
      segment.share = step.device_id == rows->device_id ? rows->rows_fraction : 1 - rows->rows_fraction;
      // Joins and what is not cut are small beside the products.
      if (!has_matrix) segment.parts.clear();
    }
    segments.push_back(std::move(segment));
  }
  return segments;
}

StepLoad LoadOf(const Engine::BatchRun& run) {
  double rows = 0;
  for (const EngineRows& row : run.rows) rows += static_cast<double>(row.num_tokens);
  const Phase phase = run.has_prompts ? Phase::kPrefill : Phase::kDecode;
  return {{phase, rows, static_cast<double>(run.rows.size()), run.mean_context}, static_cast<double>(run.num_outputs)};
}

std::vector<double> PredictSegments(const CostModel& costs, const ModelWork& work,
                                    const std::vector<PlannedSegment>& segments, const StepLoad& load) {
  std::vector<double> times(segments.size());
  double joint = 1;
  if (IsCut(segments)) {
    const auto [rest, rows_device] = DevicesOfCut(segments);
    if (rest >= 0 && rows_device >= 0) joint = costs.JointFactor(rest, rows_device, load.shape.phase);
  }
  for (size_t i = 0; i < segments.size(); ++i) {
    const PlannedSegment& segment = segments[i];
    if (segment.device < 0) continue;
    const double parts =
        PredictPartsMs(costs, segment.device, work, segment.parts, load.shape, load.output_rows) * segment.share;
    times[i] = costs.LaunchMs(segment.device, load.shape.phase) + parts * joint +
               costs.FinishMs(segment.device, load.shape.phase, 0);
  }
  return times;
}

double WallMs(const std::vector<StepTiming>& timings) {
  if (timings.empty()) return 0;
  const auto begin = std::ranges::min(timings, {}, &StepTiming::begin).begin;
  return MillisecondsBetween(begin, std::ranges::max(timings, {}, &StepTiming::end).end);
}

void ObserveRun(CostModel& costs, const ModelWork& work, const std::vector<PlannedSegment>& segments,
                const StepLoad& load, const std::vector<StepTiming>& timings) {
  const Phase phase = load.shape.phase;
  if (IsCut(segments)) {
    // Halves wait for each other: only the whole says something, and it says it of working together.
    const auto [rest, rows_device] = DevicesOfCut(segments);
    if (rest < 0 || rows_device < 0) return;
    double own[2] = {};
    const std::vector<double> predicted = PredictSegments(costs, work, segments, load);
    for (size_t i = 0; i < segments.size(); ++i) own[segments[i].device == rest ? 0 : 1] += predicted[i];
    const double both = std::max(own[0], own[1]);
    if (both > 0) costs.ObserveRatio(rows_device, CostKind::kJoint, phase, WallMs(timings) / both);
    return;
  }
  for (size_t i = 0; i < segments.size() && i < timings.size(); ++i) {
    const PlannedSegment& segment = segments[i];
    if (segment.device < 0 || !timings[i].exact) continue;
    const double fixed = costs.LaunchMs(segment.device, phase) + costs.FinishMs(segment.device, phase, 0);
    const double ms = MillisecondsBetween(timings[i].begin, timings[i].end);
    // What is all overhead says nothing of the work.
    if (ms > 1.2 * fixed) costs.Observe(segment.device, work, segment.parts, load.shape, load.output_rows, ms - fixed);
  }
}

}  // namespace lem
