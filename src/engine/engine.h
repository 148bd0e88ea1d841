// The mechanism of generation for one model: sequences with their KV blocks, steps over batches of rows, sampling.
//
// Policy (who is admitted, who steps) comes from outside as StepRows. Owned by the engine's thread; not thread-safe but
// for the counters. Events go to each sequence's sink and are cheap to emit: no text is made here.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/constraint.h"
#include "engine/prefix_cache.h"
#include "engine/prefix_store.h"
#include "engine/route_table.h"
#include "engine/sampler.h"
#include "engine/speculation.h"
#include "models/model.h"
#include "request/request.h"

namespace lem {

using SequenceId = uint64_t;

struct EngineOptions {
  int64_t context_length = 0;     // longest prompt + answer; 0 = as the model was trained, if memory allows
  uint64_t kv_cache_bytes = 0;    // for all sequences of the model; 0 = what the limit and the devices allow
  uint64_t kv_cache_limit = 0;    // 0 = half of the memory that is available now
  int64_t max_step_tokens = 256;  // rows of one step: bounds how long a cancel or a decoding neighbour waits
  Placement placement = PlacementOnCpu();
  // Create returns when every device has compiled, and not as soon as requests can start on the CPU.
  bool wait_for_devices = false;
  // One numerics class for prompts and answers, whenever a request comes: implies wait_for_devices.
  bool deterministic = false;
  // Prompts that begin as earlier ones take over their keys and values.
  bool cache_prefixes = false;
  // Where they are kept when the engine ends, and found when the next one begins; empty = nowhere. Only where every
  // device works in the host's memory.
  std::filesystem::path prefix_file;
  uint64_t prefix_file_bytes = 0;  // at most
  std::string prefix_fingerprint;  // of the model's file
  // Tokens that are likely to follow are computed beforehand; no answer changes. kAlways asks for no proof that it
  // pays.
  enum class Speculation { kOff, kWherePaying, kAlways };
  Speculation speculation = Speculation::kOff;
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
  // The model, registry, memory and kernels must outlive it. While devices compile that take long at it, requests start
  // on the CPU. Errors: as PlacedModel::Create and Executor::Create; ResourceExhausted when not even one context fits
  // the memory, with the numbers; InvalidArgument for a placement that cannot be deterministic.
  static Result<std::unique_ptr<Engine>> Create(const Model& model, const DeviceRegistry& devices,
                                                MemoryManager& memory, const KernelTable& kernels,
                                                const EngineOptions& options);
  ~Engine();

  int64_t context_length() const { return context_length_; }
  int64_t max_step_tokens() const { return options_.max_step_tokens; }
  int64_t max_step_outputs() const { return max_step_outputs_; }
  const KvBlockPool& kv_pool() const { return *pool_; }
  // How new requests are placed now: as asked for, less devices that were lost or have not compiled yet.
  const PlacedModel& placed() const { return route_->placed(); }
  // Not OK if a device could not compile its part, so that requests stay on the CPU.
  const Status& placement_status() const { return placement_status_; }
  // True while devices compile that requests are to use. Thread-safe.
  bool compiling() const { return routes_.is_opening(); }
  // Waits until requests are placed as asked for, or placement_status() says why not.
  void WaitForDevices();
  // The ways through the model; thread-safe but for Open. What is prepared here can be asked for in Add.
  RouteTable& routes() { return routes_; }
  const RouteTable& routes() const { return routes_; }

  // KV blocks that a request may come to use: the one function that says what a request needs.
  int64_t BlocksFor(const GenerateRequest& request) const;
  // The longest answer the context leaves room for, or the request's own limit if that is less.
  int64_t AnswerLimit(const GenerateRequest& request) const;

  // Tokens of the prompt that Add would find keys and values of, now.
  int64_t CountKnownTokens(const GenerateRequest& request, const std::string& placement) const;
  // It runs as `placement` (text of FormatPlacement) says if that way is open, else as placed(). Blocks are taken as
  // rows come to need them. Returns how many tokens of its prompt need not be computed. REQUIRES: the request was
  // checked; there is a constraint if it has a grammar.
  int64_t Add(SequenceId id, const std::shared_ptr<const GenerateRequest>& request, std::shared_ptr<EventSink> sink,
              const std::string& placement = {}, std::unique_ptr<Constraint> constraint = nullptr);
  // Changes a running sequence over to an open way, if it has computed nothing yet or no bit of its answer can change.
  // False if that is not so. REQUIRES: the sequence exists.
  bool MoveTo(SequenceId id, const std::string& placement);
  // The placement that a sequence runs on. REQUIRES: it exists.
  std::string PlacementOf(SequenceId id) const;
  // Takes away a sequence's blocks; it computes them anew when it is resumed, and its answer does not change. Returns
  // how many tokens that is at most. REQUIRES: the sequence exists.
  int64_t Interrupt(SequenceId id);
  // Returns how many of those tokens need not be computed. REQUIRES: it was interrupted, and has not been stepped
  // since.
  int64_t Resume(SequenceId id);
  // Forgets a sequence and frees its blocks. Emits nothing.
  void Remove(SequenceId id);

  struct FinishedSequence {
    SequenceId id = 0;
    FinishReason reason = FinishReason::kStop;
    Usage usage;
    Status status;  // for kError
  };
  // What one submission of a step did, and when each part of its plan was at work.
  struct BatchRun {
    std::shared_ptr<const Route> route;
    Phase phase = Phase::kPrefill;  // whose plan
    bool has_prompts = false;       // rows of prompts, of answers
    bool has_answers = false;
    int64_t num_outputs = 0;
    double mean_context = 0;  // tokens that a row looks back at
    std::vector<EngineRows> rows;
    std::vector<StepTiming> timings;  // by steps of the plan
  };
  struct StepOutcome {
    std::vector<EngineRows> progress;  // tokens whose keys and values exist now, of those that have not failed
    std::vector<FinishedSequence> finished;
    std::vector<BatchRun> runs;
    // Sequences that a device failed on. They are as before the step, and may be stepped again or removed.
    std::vector<SequenceId> failed;
    Status error;  // OK if none failed
  };
  // Computes one step and emits tokens, more than asked for where they were forced or guessed; rows of prompts and of
  // answers are two submissions where their plans differ. Sequences that ended are removed. When a device is lost its
  // work moves to the CPU and nothing is lost but time. REQUIRES: as many blocks are free or idle as the rows need.
  StepOutcome Step(const std::vector<EngineRows>& rows);

  // Counts so far, for a sequence that is being cancelled. REQUIRES: the sequence exists.
  Usage UsageOf(SequenceId id) const;

 private:
  struct Sequence;

  Engine(const Model& model, const DeviceRegistry& devices, MemoryManager& memory, const KernelTable& kernels,
         const EngineOptions& options);
  // Rows that one submission computes.
  struct Batch {
    std::shared_ptr<Route> route;
    Phase phase = Phase::kPrefill;
    std::vector<EngineRows> rows;
    std::vector<std::vector<int32_t>> guesses;  // by row: tokens at its end that are not known to follow
    std::vector<int32_t> tokens, output_rows;
    std::vector<SequenceRows> sequences;
    Status status;
  };
  // What one sequence computes in a step.
  struct SequenceStep {
    EngineRows rows;
    std::vector<int32_t> guesses;  // the last of the rows
  };

  Status CheckDeterminism(const PlacedModel& placed) const;
  Status ChooseMemory(const PlacedModel& placed);
  Status StartOnCpu(std::unique_ptr<Route> wanted);
  void TakeCompiledRoute();
  std::string CacheSpaceFor(const GenerateRequest& request, const Route* route) const;
  void OpenPrefixes();
  void SavePrefixes() const;
  std::string PrefixFingerprint() const;
  std::optional<BlockId> TryNewBlock();
  BlockId NewBlock();
  int64_t TakeKnownBlocks(Sequence& sequence);
  std::vector<SequenceStep> ChooseRows(const std::vector<EngineRows>& rows);
  void Remember(const Sequence& sequence);
  std::vector<Batch> MakeBatches(std::vector<SequenceStep> steps) const;
  void GatherRows(Batch& batch) const;
  Bindings BindingsOf(const Batch& batch) const;
  BatchRun DescribeRun(const Batch& batch) const;
  void HandleBatch(const Batch& batch, StepOutcome& outcome);
  Status Recover(Batch& batch);
  Status LeaveLostDevices(const Status& cause);
  Result<bool> BringKvToHost(const Sequence& sequence, const std::vector<SpaceId>& lost_spaces);
  Status Replay(const Sequence& sequence);
  std::vector<int32_t> Guess(Sequence& sequence, int64_t rows, int64_t room);
  void PrepareMasks(const Batch& batch) const;
  // What the outputs of one sequence's rows mean; why it ended, if it did.
  std::optional<FinishReason> HandleOutputs(Sequence& sequence, int64_t num_tokens, std::span<const int32_t> guesses,
                                            float* logits);
  std::optional<FinishReason> EmitNextToken(Sequence& sequence, std::span<float> logits);
  std::optional<FinishReason> FollowConstraint(Sequence& sequence, int32_t token);
  std::optional<FinishReason> HandleHiddenStates(Sequence& sequence, int64_t num_tokens, const float* states);
  Result<std::shared_ptr<Route>> HiddenRoute();
  static bool WantsOutput(const Sequence& sequence, int64_t position);
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
  std::unique_ptr<PrefixCache> prefix_cache_;  // null if prefixes are not cached
  std::optional<PrefixStore> prefix_store_;
  RouteTable routes_;
  // To the last hidden states, on the CPU; opened by the first request that wants them.
  Graph hidden_graph_;
  std::unique_ptr<RouteTable> hidden_routes_;
  std::shared_ptr<Route> hidden_route_;
  std::shared_ptr<Route> route_;               // of new sequences; null after a lost device that nothing could replace
  std::unique_ptr<KvResidency> kv_residency_;  // null if every device works in the host's memory
  std::string wanted_;                         // the placement that is being opened for new sequences; empty = none
  Clock::time_point compiling_since_{};
  Status placement_status_;
  std::unordered_map<SequenceId, std::unique_ptr<Sequence>> sequences_;

  DraftPolicy draft_policy_;
  SamplerScratch sampler_scratch_;
};

}  // namespace lem
