// Policy, and nothing else: which sequences are admitted and which rows the next step of which model computes.
//
// A pure object: no threads, no clock, no I/O; the same calls give the same decisions, so it is tested without an
// engine. Today's policy: first come, first served. A sequence is admitted when its model has blocks for the most it
// may ever use, so that an admitted one never fails for memory. A step gives every decoding sequence one token and
// fills the rest of the token budget with prompt chunks in order of arrival. Models take turns.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace lem {

using SequenceId = uint64_t;

struct SequenceDemand {
  SequenceId id = 0;
  int32_t model = 0;               // index of the model
  int64_t prompt_tokens = 0;       // at least 1
  int64_t max_blocks = 0;          // KV blocks it may come to use
  bool outputs_every_row = false;  // wants logits of every prompt token (prompt_logprobs)
};

struct ModelCapacity {
  int64_t free_blocks = 0;
  int64_t max_step_tokens = 0;   // rows of one step
  int64_t max_step_outputs = 0;  // rows with logits of one step
  int64_t max_running = 0;       // sequences at once
};

// Rows of one sequence in a step: its next `num_tokens` tokens.
struct StepRows {
  SequenceId id = 0;
  int64_t num_tokens = 0;
};

struct Decision {
  int32_t model = -1;  // whose step it is; -1 = nothing to run
  std::vector<StepRows> rows;
};

class Scheduler {
 public:
  explicit Scheduler(int32_t num_models) : num_models_(num_models) {}

  void Enqueue(const SequenceDemand& demand);
  // Finished, cancelled or failed; also for a waiting one.
  void Remove(SequenceId id);
  // Those that run from now on; their blocks are to be allocated before Next. capacity[model]; free_blocks counts what
  // is free before.
  std::vector<SequenceId> Admit(std::vector<ModelCapacity> capacity);
  // An admitted one need not compute its first tokens: their keys and values exist. REQUIRES: less than its prompt; it
  // has computed nothing yet.
  void Skip(SequenceId id, int64_t num_tokens);
  Decision Next(const std::vector<ModelCapacity>& capacity);
  // The rows of the last decision were computed.
  void StepDone(const std::vector<StepRows>& rows);

  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  // Requests ahead of a waiting one; nullopt if it does not wait.
  std::optional<int64_t> PositionOf(SequenceId id) const;

 private:
  struct Running {
    SequenceDemand demand;
    int64_t computed = 0;  // tokens whose KV exists
    bool decoding() const { return computed >= demand.prompt_tokens; }
  };

  std::vector<StepRows> RowsFor(int32_t model, const ModelCapacity& capacity) const;

  const int32_t num_models_;
  int32_t last_model_ = -1;
  std::deque<SequenceDemand> waiting_;  // in order of arrival
  std::vector<Running> running_;        // in order of admission
};

}  // namespace lem
