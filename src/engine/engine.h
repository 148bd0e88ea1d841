// The mechanism of generation for one model: sequences with their KV blocks, steps over batches of rows, sampling.
//
// Policy (who is admitted, who steps) comes from outside as StepRows. Owned by the engine's thread; not thread-safe but
// for the counters. Events go to each sequence's sink and are cheap to emit: no text is made here.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/sampler.h"
#include "executor/executor.h"
#include "memory/kv_block_pool.h"
#include "models/model.h"
#include "request/request.h"

namespace lem {

using SequenceId = uint64_t;

struct EngineOptions {
  int64_t context_length = 0;     // longest prompt + answer; 0 = as the model was trained, if memory allows
  uint64_t kv_cache_bytes = 0;    // for all sequences of the model; 0 = half of the memory that is available now
  int64_t max_step_tokens = 256;  // rows of one step: bounds how long a cancel or a decoding neighbour waits
  Placement placement = PlacementOnCpu();
};

class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void Emit(Event event) = 0;
};

// The next `num_tokens` tokens of a sequence, to be computed in one step.
struct EngineRows {
  SequenceId id = 0;
  int64_t num_tokens = 0;
};

class Engine {
 public:
  // The model, registry, memory and kernels must outlive it. Errors: as PlacedModel::Create and Executor::Create;
  // ResourceExhausted when not even one context fits the memory, with the numbers.
  static Result<std::unique_ptr<Engine>> Create(const Model& model, const DeviceRegistry& devices,
                                                MemoryManager& memory, const KernelTable& kernels,
                                                const EngineOptions& options);
  ~Engine();

  int64_t context_length() const { return context_length_; }
  int64_t max_step_tokens() const { return options_.max_step_tokens; }
  int64_t max_step_outputs() const { return max_step_outputs_; }
  const KvBlockPool& kv_pool() const { return *pool_; }
  // How the model is placed now: as asked for, less devices that were lost.
  const PlacedModel& placed() const { return *placed_; }

  // KV blocks that a request may come to use: the one function that says what a request needs.
  int64_t BlocksFor(const GenerateRequest& request) const;
  // The longest answer the context leaves room for, or the request's own limit if that is less.
  int64_t AnswerLimit(const GenerateRequest& request) const;

  // Takes all blocks the request may use. REQUIRES: BlocksFor(request) are free; the request was checked.
  void Add(SequenceId id, const std::shared_ptr<const GenerateRequest>& request, std::shared_ptr<EventSink> sink);
  // Forgets a sequence and frees its blocks. Emits nothing.
  void Remove(SequenceId id);

  struct FinishedSequence {
    SequenceId id = 0;
    FinishReason reason = FinishReason::kStop;
    Usage usage;
  };
  struct StepOutcome {
    std::vector<FinishedSequence> finished;
    // Sequences that a device failed on. They are as before the step, and may be stepped again or removed.
    std::vector<SequenceId> failed;
    Status error;  // OK if none failed
  };
  // Computes one step and emits tokens; rows of prompts and of answers are two submissions where their plans differ.
  // Sequences that ended are removed. When a device is lost its work moves to the CPU and nothing is lost but time.
  StepOutcome Step(const std::vector<EngineRows>& rows);

  // Counts so far, for a sequence that is being cancelled. REQUIRES: the sequence exists.
  Usage UsageOf(SequenceId id) const;

 private:
  struct Sequence;

  Engine(const Model& model, const DeviceRegistry& devices, MemoryManager& memory, const KernelTable& kernels,
         const EngineOptions& options);
  Status ChooseMemory();
  Status Place(const Placement& placement);
  Status MakeExecutors();
  Executor& executor(Phase phase) { return *executors_[placed_->phases_are_alike() ? 0 : static_cast<size_t>(phase)]; }
  Status StepPhase(const std::vector<EngineRows>& rows, Phase phase, std::vector<FinishedSequence>& finished);
  Status RunOrRecover(const Bindings& bindings, Phase phase);
  Status LeaveLostDevices(const Status& cause);
  Result<bool> BringKvToHost(const Sequence& sequence, const std::vector<SpaceId>& lost_spaces);
  Status Replay(const Sequence& sequence);
  void GatherRows(const std::vector<EngineRows>& rows);
  // What the outputs of one sequence's rows mean; true if it ended.
  std::optional<FinishReason> HandleOutputs(Sequence& sequence, int64_t num_tokens, float* logits);
  std::optional<FinishReason> EmitNextToken(Sequence& sequence, std::span<float> logits);
  void RecordPromptLogprob(Sequence& sequence, int64_t prompt_idx, std::span<const float> logits);

  const Model& model_;
  const DeviceRegistry& devices_;
  MemoryManager& memory_;
  const KernelTable& kernels_;
  EngineOptions options_;
  int64_t context_length_ = 0;
  int64_t max_step_outputs_ = 0;
  KvBlockLayout kv_layout_;
  std::unique_ptr<KvBlockPool> pool_;
  std::unique_ptr<PlacedModel> placed_;
  std::array<std::unique_ptr<Executor>, 2> executors_;  // by phase; the second is null if the phases are alike
  std::unique_ptr<KvResidency> kv_residency_;           // null while everything is in the host's memory
  std::unordered_map<SequenceId, std::unique_ptr<Sequence>> sequences_;

  // Of the current step, kept to save allocations.
  std::vector<int32_t> tokens_;
  std::vector<SequenceRows> sequence_rows_;
  std::vector<int32_t> output_rows_;
  SamplerScratch sampler_scratch_;
};

}  // namespace lem
