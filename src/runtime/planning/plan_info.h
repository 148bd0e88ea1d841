// What callers may know of plans: how requests were placed, what was predicted and what it took.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lem {

struct PlannedPhase {
  std::string devices;      // kinds, the largest share of time first: "npu+gpu"
  double predicted_ms = 0;  // to the first token, or of one token of the answer; 0 = nothing is known of the devices
  double measured_ms = 0;   // the same; 0 = not over yet
  double moved_bytes = 0;   // activations between memories, predicted
};

struct PlanAlternative {
  std::string placement;
  double predicted_ms = 0;  // of the whole request
  std::string lost_because;
};

// How one request is run.
struct PlanInfo {
  uint64_t id = 0;
  std::string request_id, model;
  std::string placement;
  std::string being_opened;  // a better one, that later requests will have; empty = none
  std::string chosen_by;     // "cost" or "user"
  std::string goal;          // "latency"
  std::string state;         // "waiting", "running" or "finished"
  int64_t prompt_tokens = 0, max_tokens = 0, generated_tokens = 0;
  int32_t moves = 0;  // to other placements while it ran
  PlannedPhase prefill, decode;
  double predicted_joules = 0, joules = 0;
  std::string energy_source;  // of `joules`: "rail", "package", "modelled"...; "unavailable": both are 0
  double solve_ms = 0;        // that choosing took
  std::vector<PlanAlternative> alternatives;
};

// What is said of a plan before its answer begins.
struct PlanSummary {
  uint64_t id = 0;
  std::string placement, prefill_devices, decode_devices;
  double predicted_first_token_ms = 0, predicted_token_ms = 0;  // 0 = not known
};

// One device at work for one step of a plan.
struct TraceSpan {
  std::string device, model;
  std::string phase;     // "prefill" or "decode"
  int64_t begin_us = 0;  // since the service began
  double measured_ms = 0, predicted_ms = 0;
  bool exact = true;  // false: the work ended within the time, nobody knows when
  int64_t rows = 0, sequences = 0;
};

struct PredictionStats {
  std::string device, phase;
  uint64_t steps = 0;
  double measured_seconds = 0, predicted_seconds = 0;
  double error = 0;  // mean of |predicted / measured - 1| over the latest steps
};

struct RouteStatus {
  std::string model, placement, state, error;
};

}  // namespace lem
