// Cuts a model's graph by a placement: by phase, layer, block, and by rows of its matrices.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "graph/placement.h"
#include "graph/plan.h"

namespace lem {

// Where a weight of a sliced graph comes from: rows [row_begin, row_begin + rows of the slot) of a slot of the graph
// that was cut.
struct WeightSlice {
  WeightSlot source = kNone;
  int64_t row_begin = 0;
};

struct SlicedGraph {
  Graph graph;                      // the given one, with matrices cut by rows if the placement says so
  std::vector<WeightSlice> slices;  // [graph.weights.size()]
  Plan prefill, decode;

  const Plan& plan(Phase phase) const { return phase == Phase::kPrefill ? prefill : decode; }
};

// The memory that each device computes in.
using DeviceSpaces = std::map<std::string, SpaceId, std::less<>>;

// Every value crosses to another memory at most once. Errors: InvalidArgument for layers that the model does not have,
// NotFound for a device that `spaces` does not name.
Result<SlicedGraph> SliceGraph(const Graph& graph, const Placement& placement, const DeviceSpaces& spaces);

}  // namespace lem
