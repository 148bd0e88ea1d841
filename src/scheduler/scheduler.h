// Policy, and nothing else: which sequences are admitted, which give way, and which rows the next step of which model
// computes.
//
// A pure object: no threads, no clock, no I/O; the same calls give the same decisions, so it is tested in virtual time
// without an engine. The order among requests: interactive before batch before background, a class up for every
// `ageing_s` of waiting, so that nobody starves; then the tenant who got least; then who is due first, which for those
// without a target of their own is a matter of when they came and how long their prompts are. A step gives every
// decoding sequence one token and adds chunks of prompts in that order, as a rule all of one class; while interactive
// answers run, no more of them than keeps the time between two tokens within its limit. Models take turns. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "request/request.h"
#include "scheduler/fair_share.h"
#include "scheduler/step_costs.h"

namespace lem {

using SequenceId = uint64_t;
using Seconds = double;  // points in time are seconds since any one moment

// What an admitted sequence is promised. Both never let it fail for memory.
enum class AdmissionPolicy {
  kGuarantee,  // all it may come to use is kept for it, so that it is never interrupted
  kMaximise,   // as many as have room now; the least urgent gives way when blocks run out, and goes on later
};

// "guarantee" or "maximise". Errors: InvalidArgument naming both.
Result<AdmissionPolicy> ParseAdmissionPolicy(const std::string& name);

struct SchedulerOptions {
  AdmissionPolicy policy = AdmissionPolicy::kMaximise;
  Seconds ageing_s = 30;
  // A step with rows of prompts takes at most so many times what its answers take alone, for answers without a target.
  double itl_factor = 2;
  int64_t min_chunk = 8;  // rows of prompts in any step: they never stand still
  // Steps of prompts that nobody waits for take about so long, if rows are slow: whoever comes meanwhile is not to wait
  // for them. But not fewer rows than these, since rows are dearer the fewer they are.
  Seconds patient_step_s = 0.05;
  // Prompts of less urgent classes are in no step with more urgent ones unless all of them have stood still for so
  // long.
  Seconds patience_s = 1;
  int64_t min_patient_rows = 64;
};

struct SequenceDemand {
  SequenceId id = 0;
  int32_t model = 0;               // index of the model
  int64_t prompt_tokens = 0;       // at least 1
  int64_t max_blocks = 0;          // KV blocks it may come to use
  bool outputs_every_row = false;  // wants logits of every prompt token (prompt_logprobs)
  Priority priority = Priority::kInteractive;
  std::string tenant;
  Seconds arrival = 0;
  Seconds ttft_target = 0;  // to the first token, from its arrival; 0 = none
  Seconds tpot_target = 0;  // between tokens; 0 = none
  Seconds deadline = std::numeric_limits<Seconds>::infinity();
  SequenceId follows = 0;  // its prompt begins as this one's: it waits until that was computed, and takes it over
};

struct ModelCapacity {
  int64_t free_blocks = 0;
  int64_t block_tokens = 16;
  int64_t max_step_tokens = 0;   // rows of one step
  int64_t max_step_outputs = 0;  // rows with logits of one step
  int64_t max_running = 0;       // sequences at once
};

// Rows of one sequence in a step: its next `num_tokens` tokens.
struct StepRows {
  SequenceId id = 0;
  int64_t num_tokens = 0;
};

struct Admission {
  std::vector<SequenceId> admitted;    // run from now on
  std::optional<SequenceId> give_way;  // to be interrupted for one that is more urgent; then Admit is asked again
};

struct Decision {
  int32_t model = -1;  // whose step it is; -1 = nothing to run
  std::vector<StepRows> rows;
  std::optional<SequenceId> give_way;  // to be interrupted for want of blocks; then Next is asked again; no rows
};

// What a new request meets at a model.
struct ModelLoad {
  struct PerClass {
    int64_t waiting = 0;
    int64_t prompt_tokens = 0;  // still to be computed, of waiting and running ones
  };
  PerClass classes[kNumPriorities];
  int64_t running = 0, decoding = 0;
  bool is_full = false;  // who waits, waits for somebody to end
  Seconds prompt_row_s = StepCosts::kGuessedRow;
  Seconds residence_s = 0;  // of a sequence from its admission to its end, lately; 0 = unknown
};

// Seconds until a request of so many prompt tokens would have its first token, as far as anybody can tell.
Seconds EstimateTtft(const ModelLoad& load, Priority priority, int64_t prompt_tokens);

class Scheduler {
 public:
  explicit Scheduler(int32_t num_models, SchedulerOptions options = {})
      : num_models_(num_models), options_(options), costs_(static_cast<size_t>(num_models)) {}

  // Models that came later: so many there are now.
  void AddModels(int32_t num_models) {
    num_models_ = num_models;
    costs_.resize(static_cast<size_t>(num_models));
  }
  void Enqueue(const SequenceDemand& demand);
  // Finished, cancelled or failed; also for a waiting one.
  void Remove(SequenceId id, Seconds now);
  Admission Admit(std::vector<ModelCapacity> capacity, Seconds now);
  // An admitted one need not compute its first tokens: their keys and values exist. REQUIRES: less than its prompt; it
  // has computed nothing yet.
  void Skip(SequenceId id, int64_t num_tokens);
  // It has given way: it waits again, with so many tokens to be computed anew.
  void Requeue(SequenceId id, int64_t num_tokens);
  // REQUIRES: what Admit returned last asked nobody to give way.
  Decision Next(const std::vector<ModelCapacity>& capacity, Seconds now);
  // The rows were computed, which may be more or fewer than decided.
  void StepDone(int32_t model, const std::vector<StepRows>& rows, Seconds took);

  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  // Requests ahead of a waiting one; nullopt if it does not wait.
  std::optional<int64_t> PositionOf(SequenceId id, Seconds now) const;
  ModelLoad LoadOf(int32_t model) const;

 private:
  // Less is more urgent.
  struct Urgency {
    int64_t rank = 0;  // class, less one for every time of ageing
    int64_t service = 0;
    Seconds due = 0;
    SequenceId id = 0;
    auto operator<=>(const Urgency&) const = default;
  };
  struct Waiting {
    SequenceDemand demand;
    Seconds due = 0;
    Urgency urgency;  // when they were sorted
  };
  struct Running {
    SequenceDemand demand;
    Seconds due = 0;
    Seconds admitted = 0;
    Seconds last_rows = 0;  // when rows of its prompt were last in a step
    int64_t computed = 0;   // tokens whose KV exists
    bool decoding() const { return computed >= demand.prompt_tokens; }
  };

  Urgency UrgencyOf(const SequenceDemand& demand, Seconds due, Seconds now) const;
  void SortWaiting(Seconds now);
  bool IsHeld(const SequenceDemand& demand) const;
  int64_t BlocksHeld(const Running& running, int64_t block_tokens) const;
  // Blocks that those who run are still to be given.
  int64_t BlocksPromised(int32_t model, int64_t block_tokens) const;
  // Who is least urgent of those that run, if it is less urgent than `than`.
  std::optional<SequenceId> LeastUrgent(int32_t model, const Urgency* than, Seconds now) const;
  Decision RowsFor(int32_t model, const ModelCapacity& capacity, Seconds now);
  int64_t ChunkLimit(int32_t model, int64_t num_answers, bool patient, Seconds now) const;

  int32_t num_models_;
  const SchedulerOptions options_;
  int32_t last_model_ = -1;
  std::vector<Waiting> waiting_;  // in the order of the last Admit, new ones at the end
  std::vector<Running> running_;  // in order of admission
  FairShare shares_;
  struct ModelCosts {
    StepCosts steps;
    Seconds residence_s = 0;
    bool is_full = false;
  };
  std::vector<ModelCosts> costs_;  // by model
};

}  // namespace lem
