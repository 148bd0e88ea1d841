// Costs of a model's parts on each device for one phase of one request, added up over layers and steps, so that the
// search compares candidates by a few additions each. Internal to the placement search.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "scheduler/placement_search.h"

namespace lem {

// Sums over all steps of the phase.
struct PhaseCost {
  double work_ms = 0, switch_ms = 0, compile_ms = 0;
  double joules = 0;  // of work; what waits is added by Total
  double moved_bytes = 0;
  std::array<double, kMaxDevices> busy_ms{};
  std::array<double, kMaxDevices> share_ms{};  // of work_ms; where two work at once, divided by the rows they have
  bool possible = true;

  double ms() const { return work_ms + switch_ms + compile_ms; }
};

class PhaseTable {
 public:
  // chunk: rows of a prefill step; ignored for decode.
  PhaseTable(const CostModel& costs, const ModelWork& model, const RequestShape& request, Phase phase, int64_t chunk);

  PhaseCost Evaluate(const Candidate& candidate) const;
  // The share of rows that makes both devices end at the same time.
  double BalancedFraction(int rest, int rows_device) const;
  // Spread of the prediction, weighted by time.
  double LogError(const Candidate& candidate) const;

  Phase phase() const { return phase_; }
  int64_t chunk() const { return chunk_; }
  int64_t steps() const { return steps_; }
  bool CanRun(int device) const { return devices_[static_cast<size_t>(device)].possible; }

 private:
  // Steps that cost about the same.
  struct Sample {
    StepShape shape;
    double count = 0;
  };
  struct Sum {
    double ms = 0, joules = 0;
  };
  struct DeviceTable {
    bool possible = true;
    std::vector<Sum> attention, feed_forward;  // [num_layers + 1] of the layers before
    Sum embedding, head;
    double launch_ms = 0, finish_ms = 0, compile_ms = 0;
    std::array<double, kMaxDevices> hand_over_ms{};
    std::array<double, kMaxDevices> hand_over_bytes{};
    std::vector<std::vector<PartCost>> cells;  // [class][sample]
  };
  struct JointCost {
    double ms = 0, products_ms = 0, rest_ms = 0, rows_ms = 0, joules = 0;
  };

  void MakeSamples(const RequestShape& request);
  void Fill(int device);
  Sum SumOfClass(int device, const DeviceTable& table, int32_t class_idx) const;
  const std::vector<Sample>& SamplesOf(const PartWork& work) const;
  PhaseCost EvaluateRows(const Candidate& candidate) const;
  JointCost Joint(int rest, int rows_device, double fraction, int32_t class_idx) const;

  const CostModel& costs_;
  const ModelWork& model_;
  const Phase phase_;
  int64_t chunk_ = 1, steps_ = 1;
  double outputs_ = 1;  // rows of the head in all steps
  std::vector<Sample> samples_, head_samples_;
  std::vector<DeviceTable> devices_;
};

}  // namespace lem
