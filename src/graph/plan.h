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

// The largest step an executable is compiled for, and the phase whose kernels it uses.
struct ShapeBucket {
  int64_t max_tokens = 0;   // T
  int64_t max_outputs = 0;  // O
  Phase phase = Phase::kPrefill;
};

// A memory that bytes can be in. Devices that reach the host's memory share space 0; others have one each.
using SpaceId = int32_t;
inline constexpr SpaceId kHostSpace = 0;

// A value that must be copied from one memory to another before a step can run.
struct Transfer {
  ValueId value = kNone;
  SpaceId from = kHostSpace, to = kHostSpace;
};

struct PlanStep {
  Segment segment;
  std::string device_id;  // "cpu"
  std::vector<Transfer> transfers;
};

// Immutable once made. Steps are in running order; neighbours on different devices run at the same time if neither
// reads what the other writes.
struct Plan {
  std::vector<PlanStep> steps;
  std::vector<Transfer> last_transfers;  // that bring the logits to the host
};

// Bytes that the values crossing from device to device take in a step of this many rows.
uint64_t PredictActivationBytes(const Graph& graph, const Plan& plan, int64_t num_tokens, int64_t num_outputs);

// The values that a segment reads from outside itself, and those it writes that are read outside (or are the logits).
struct SegmentBoundary {
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
};
SegmentBoundary FindBoundary(const Graph& graph, const Segment& segment);

}  // namespace lem
