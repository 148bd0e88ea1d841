// One way to run one phase of a request, in the form that the search counts with; ClausesOf says it in words.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "graph/placement.h"
#include "scheduler/cost/device_profile.h"

namespace lem {

inline constexpr int kMaxDevices = 8;  // of a machine that plans are made for

enum class PlanFamily : uint8_t { kParts, kLayers, kThreeLayers, kPartialFeedForward, kRows };
inline constexpr int kNumPlanFamilies = 5;

// Layers [begin, end) with their two parts' devices.
struct LayerRun {
  int32_t begin = 0, end = 0;
  int16_t attention = 0, feed_forward = 0;
};

// One way to run one phase. kRows: `rows_device` has rows_fraction of every matrix, runs[0] the rest.
struct Candidate {
  PlanFamily family = PlanFamily::kParts;
  std::array<LayerRun, 3> runs;
  int16_t num_runs = 1;
  int16_t head = 0;
  int16_t rows_device = -1;
  double rows_fraction = 0;

  // The embedding runs where the first layer's attention does.
  int embedding() const { return runs[0].attention; }
  int AttentionOf(int32_t layer) const;
  int FeedForwardOf(int32_t layer) const;
  bool operator==(const Candidate& other) const;
};
// Clauses of a placement for one phase, or for both if `phase` is null. The last one covers all that is left.
std::vector<PlacementClause> ClausesOf(const Candidate& candidate, const MachineProfile& machine, int32_t num_layers,
                                       std::optional<Phase> phase);

}  // namespace lem
