// The candidates of each family, visited one after the other. Internal to the placement search.
#pragma once

#include <array>
#include <vector>

#include "scheduler/cost/device_profile.h"
#include "scheduler/plan_candidate.h"

namespace lem {

// Everything on one device.
Candidate OnOneDevice(int device, int32_t num_layers);

// Visits what the machine's devices can run: visit(candidate).
class CandidateSpace {
 public:
  CandidateSpace(const MachineProfile& machine, int32_t num_layers) : machine_(machine), num_layers_(num_layers) {}

  // A device for each of attention, feed-forward and head; all on one device among them.
  template <typename Visit>
  void VisitParts(const Visit& visit) const;
  // Two runs of layers, and the feed-forward blocks of the first layers elsewhere. Where three runs are possible,
  // visit_three(devices) is called for each choice of devices.
  template <typename Visit, typename VisitThree>
  void VisitSplits(const Visit& visit, const VisitThree& visit_three) const;
  // Rows of every matrix, in the shares that fractions_of(rest, rows_device) returns.
  template <typename FractionsOf, typename Visit>
  void VisitRows(const FractionsOf& fractions_of, const Visit& visit) const;

 private:
  int num_devices() const { return static_cast<int>(machine_.devices.size()); }
  bool CanRun(int device, Part part) const { return machine_.devices[static_cast<size_t>(device)].Runs(part); }
  bool CanRunLayers(int device) const { return CanRun(device, Part::kAttention) && CanRun(device, Part::kFeedForward); }
  bool CanRunAll(int device) const {
    return CanRunLayers(device) && CanRun(device, Part::kEmbedding) && CanRun(device, Part::kHead);
  }

  const MachineProfile& machine_;
  const int32_t num_layers_;
};

template <typename Visit>
void CandidateSpace::VisitParts(const Visit& visit) const {
  for (int a = 0; a < num_devices(); ++a) {
    if (!CanRun(a, Part::kAttention) || !CanRun(a, Part::kEmbedding)) continue;
    for (int f = 0; f < num_devices(); ++f) {
      for (int h = 0; h < num_devices() && CanRun(f, Part::kFeedForward); ++h) {
        if (!CanRun(h, Part::kHead)) continue;
        Candidate candidate = OnOneDevice(a, num_layers_);
        candidate.runs[0].feed_forward = static_cast<int16_t>(f);
        candidate.head = static_cast<int16_t>(h);
        visit(candidate);
      }
    }
  }
}

template <typename Visit, typename VisitThree>
void CandidateSpace::VisitSplits(const Visit& visit, const VisitThree& visit_three) const {
  const int32_t n = num_layers_;
  const auto run = [](int32_t begin, int32_t end, int device) {
    return LayerRun{begin, end, static_cast<int16_t>(device), static_cast<int16_t>(device)};
  };
  for (int a = 0; a < num_devices(); ++a) {
    if (!CanRunLayers(a) || !CanRun(a, Part::kEmbedding)) continue;
    for (int b = 0; b < num_devices(); ++b) {
      if (a == b || !CanRun(b, Part::kFeedForward)) continue;
      Candidate candidate = OnOneDevice(a, n);
      candidate.num_runs = 2;
      for (int32_t k = 1; k < n; ++k) {
        if (CanRun(a, Part::kHead)) {
          candidate.family = PlanFamily::kPartialFeedForward;
          candidate.head = static_cast<int16_t>(a);
          candidate.runs[0] = {0, k, static_cast<int16_t>(a), static_cast<int16_t>(b)};
          candidate.runs[1] = run(k, n, a);
          visit(candidate);
        }
        if (!CanRun(b, Part::kAttention)) continue;
        candidate.family = PlanFamily::kLayers;
        candidate.runs[0] = run(0, k, a);
        candidate.runs[1] = run(k, n, b);
        for (const int head : {a, b}) {
          candidate.head = static_cast<int16_t>(head);
          if (CanRun(head, Part::kHead)) visit(candidate);
        }
      }
      for (int c = 0; c < num_devices(); ++c) {
        if (c == a || c == b || !CanRunLayers(b) || !CanRunLayers(c) || !CanRun(c, Part::kHead)) continue;
        visit_three(std::array<int, 3>{a, b, c});
      }
    }
  }
}

template <typename FractionsOf, typename Visit>
void CandidateSpace::VisitRows(const FractionsOf& fractions_of, const Visit& visit) const {
  for (int rest = 0; rest < num_devices(); ++rest) {
    for (int rows = 0; rows < num_devices(); ++rows) {
      if (rest == rows || !CanRunAll(rest) || !CanRunLayers(rows) || !CanRun(rows, Part::kHead)) continue;
      Candidate candidate = OnOneDevice(rest, num_layers_);
      candidate.family = PlanFamily::kRows;
      candidate.rows_device = static_cast<int16_t>(rows);
      for (const double fraction : fractions_of(rest, rows)) {
        candidate.rows_fraction = fraction;
        visit(candidate);
      }
    }
  }
}

}  // namespace lem
