// Chooses which device runs which part of a model for one request, by predicted cost: layers x devices x {attention,
// feed-forward, head} x phases x chunks of the prompt, with rows cut by balance where two devices share every matrix.
//
// Searched, each phase on its own and both alike, are the families that a Placement can say in words: one device; a
// device for each of attention, feed-forward and head; two or three runs of layers; the feed-forward blocks of the
// first layers elsewhere; rows. Costs of parts are added up beforehand, so that a candidate costs some additions; the
// best of each family and choice of devices are then paired across phases, where the transfer of keys and values,
// queues and memory limits count. No rule knows what kind of device it looks at.
//
// Pure functions; thread-safe as long as the CostModel is not changed.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "graph/placement.h"
#include "scheduler/cost/cost_model.h"
#include "scheduler/plan_candidate.h"

namespace lem {

enum class Goal : uint8_t { kLatency, kEnergy, kBalanced };
std::string_view GoalName(Goal goal);  // "latency", "energy", "balanced"
// Errors: InvalidArgument naming the goals.
Result<Goal> ParseGoal(std::string_view name);

struct RequestShape {
  int64_t prompt_tokens = 1;
  int64_t cached_tokens = 0;  // of the prompt, whose keys and values exist; below prompt_tokens
  int64_t max_tokens = 1;     // steps of decode
  int64_t batch = 1;          // sequences that decode together
};

struct SearchOptions {
  Goal goal = Goal::kLatency;
  // kBalanced: weights of TTFT, TPOT and joules a token, each relative to the best single device's.
  double ttft_weight = 1, tpot_weight = 1, joules_weight = 1;
  double max_ttft_ms = 0, max_tpot_ms = 0;                       // 0 = no limit
  std::vector<int64_t> chunks{128, 256, 512, 1024, 2048, 4096};  // tokens of a prompt's step, rising
  size_t max_alternatives = 12;
};

struct DeviceShare {
  int device = 0;       // index into MachineProfile::devices
  double busy_ms = 0;   // that it works
  double share_ms = 0;  // of the phase's work_ms; where two devices work at once, divided by the rows they have
};

struct PhasePlan {
  std::vector<DeviceShare> shares;  // devices that work, the largest share of time first
  double ms = 0, ms_p90 = 0;        // of the whole phase: the time to the first token, or all steps of decode
  double work_ms = 0;               // of ms: products and attention on the critical path
  double switch_ms = 0;             // launches, waits, copies of activations
  double wait_ms = 0;               // until devices are free, executables compiled, keys and values moved
  double joules = 0;
  double moved_bytes = 0;    // activations between memories
  int64_t chunk_tokens = 0;  // rows of a step
  int64_t steps = 0;
};

struct RequestPlan {
  Placement placement;
  Candidate prefill_candidate, decode_candidate;  // the placement as the search counts it
  PhasePlan prefill, decode;
  double kv_bytes_moved = 0;                       // between the phases
  double score = 0;                                // what is minimised
  bool meets_limits = true;                        // on TTFT and TPOT
  std::array<double, kMaxDevices> memory_bytes{};  // by device: weights, keys and values

  double ms() const { return prefill.ms + decode.ms; }
  double joules() const { return prefill.joules + decode.joules; }
};

struct Alternative {
  RequestPlan plan;
  std::string lost_because;  // in words
};

struct PlanDecision {
  RequestPlan best;
  std::vector<Alternative> alternatives;  // best first; among them each device alone
  Goal goal = Goal::kLatency;             // that was followed: energy without any watts becomes latency
  int64_t num_candidates = 0;
};

// Errors: ResourceExhausted (no plan fits in memory, with numbers), Unavailable (no device), InvalidArgument.
Result<PlanDecision> SearchPlacement(const CostModel& costs, const ModelWork& model, const RequestShape& request,
                                     const SearchOptions& options = {});

// The same placement with the chunk that is best for it, as it costs by now or for another request: of a plan that was
// made earlier, or by another model of costs. REQUIRES: a plan for this model on this machine.
Result<RequestPlan> PricePlan(const CostModel& costs, const ModelWork& model, const RequestShape& request,
                              const SearchOptions& options, const RequestPlan& plan);

struct SwitchRule {
  double min_gain = 0.08;  // of the score: less is within what predictions err
};
// True if a running request, or the next, should leave its plan for a new one: the gain is worth `switch_ms`, and the
// plan that is left is not better than predictions can tell. `remaining_share` of the request is still to be done.
bool WorthSwitching(const RequestPlan& now, const RequestPlan& candidate, double switch_ms, double remaining_share,
                    const SwitchRule& rule = {});

// "npu+gpu": kinds of the devices that work in a phase, the largest share of time first.
std::string KindsOf(const CostModel& costs, const PhasePlan& phase);

}  // namespace lem
