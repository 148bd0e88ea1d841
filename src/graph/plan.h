// Which segment of a graph runs on which device, in which order. Data only; devices are named by id.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace lem {

// A run of ops [op_begin, op_end) of a graph.
struct Segment {
  int32_t op_begin = 0;
  int32_t op_end = 0;
};

enum class Phase : uint8_t { kPrefill, kDecode };

// The largest step an executable is compiled for.
struct ShapeBucket {
  int64_t max_tokens = 0;   // T
  int64_t max_outputs = 0;  // O
};

struct PlanStep {
  Segment segment;
  std::string device_id;  // "cpu"
};

// Immutable once made. Steps are in running order.
struct Plan {
  ShapeBucket bucket;
  std::vector<PlanStep> steps;
};

// The plan that runs everything on one device.
inline Plan SingleDevicePlan(const Graph& graph, const ShapeBucket& bucket, std::string device_id) {
  return Plan{bucket, {PlanStep{Segment{0, static_cast<int32_t>(graph.ops.size())}, std::move(device_id)}}};
}

// The values that a segment reads from outside itself, and those it writes that are read outside (or are the logits).
struct SegmentBoundary {
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
};
SegmentBoundary FindBoundary(const Graph& graph, const Segment& segment);

}  // namespace lem
