#include "engine/engine.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/cpu_info.h"
#include "base/integer_math.h"
#include "base/log.h"

namespace lem {
namespace {

// Bytes of logits one step may produce: prompt logprobs of large vocabularies are computed in smaller steps instead of
// holding hundreds of MiB.
constexpr int64_t kMaxLogitsBytes = int64_t{16} << 20;
// Sequences that can run at once must each get a row of logits.
constexpr int64_t kMinStepOutputs = 16;

double MillisecondsBetween(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

}  // namespace

struct Engine::Sequence {
  SequenceId id = 0;
  std::shared_ptr<const GenerateRequest> request;
  std::shared_ptr<EventSink> sink;
  std::vector<BlockId> blocks;  // block table, for every position it may reach
  Sampler sampler;
  int64_t answer_limit = 0;
  int64_t num_computed = 0;        // positions whose KV exists
  std::vector<int32_t> generated;  // the last one is not computed yet
  std::vector<TokenEvent> prompt_logprobs;
  Clock::time_point started = Clock::now();
  Clock::time_point prefill_done{};

  int64_t prompt_size() const { return static_cast<int64_t>(request->prompt.size()); }
  bool in_prompt() const { return num_computed < prompt_size(); }
  bool wants_all_outputs() const { return request->prompt_logprobs && in_prompt(); }
  int32_t token_at(int64_t position) const {
    return position < prompt_size() ? request->prompt[static_cast<size_t>(position)]
                                    : generated[static_cast<size_t>(position - prompt_size())];
  }
};

Engine::Engine(const Model& model, const DeviceRegistry& devices, MemoryManager& memory, const KernelTable& kernels,
               const EngineOptions& options)
    : model_(model), devices_(devices), memory_(memory), kernels_(kernels), options_(options) {}

Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::Create(const Model& model, const DeviceRegistry& devices, MemoryManager& memory,
                                               const KernelTable& kernels, const EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine(model, devices, memory, kernels, options));
  const auto row_bytes = static_cast<int64_t>(sizeof(float)) * model.graph.vocab_size;
  engine->max_step_outputs_ =
      std::clamp(kMaxLogitsBytes / row_bytes, kMinStepOutputs, std::max(kMinStepOutputs, options.max_step_tokens));
  LEM_TRY(engine->Place(options.placement));
  LEM_TRY(engine->ChooseMemory());
  LEM_TRY(engine->MakeExecutors());
  return engine;
}

// REQUIRES: no sequence holds keys outside the host's memory.
Status Engine::Place(const Placement& placement) {
  executors_ = {};
  kv_residency_.reset();
  placed_.reset();
  const BoundGraph bound{&model_.graph, model_.bound_weights, &model_.weights};
  LEM_ASSIGN_OR_RETURN(placed_, PlacedModel::Create(bound, placement, devices_, memory_));
  return OkStatus();
}

// REQUIRES: the model is placed, and the pool exists.
Status Engine::MakeExecutors() {
  const size_t num_executors = placed_->phases_are_alike() ? 1 : 2;
  for (size_t i = 0; i < num_executors; ++i) {
    const ShapeBucket largest{options_.max_step_tokens, max_step_outputs_, static_cast<Phase>(i)};
    LEM_ASSIGN_OR_RETURN(executors_[i], Executor::Create(*placed_, largest, memory_));
  }
  if (!placed_->all_in_host_memory()) {
    kv_residency_ = std::make_unique<KvResidency>(*pool_, model_.graph.kv.num_layers, kv_layout_.layer_bytes,
                                                  placed_->space_memory());
  }
  return OkStatus();
}

Status Engine::ChooseMemory() {
  kv_layout_ = MakeKvBlockLayout(model_.graph.kv);
  const auto block_bytes = static_cast<int64_t>(kv_layout_.block_bytes);
  const MemoryInfo memory = GetMemoryInfo();
  uint64_t budget = options_.kv_cache_bytes != 0 ? options_.kv_cache_bytes : memory.available_bytes / 2;
  // What a device with a memory of its own has to spare, less what activations will take.
  for (const DeviceMemory* device : placed_->space_memory()) {
    if (device != nullptr && options_.kv_cache_bytes == 0) budget = std::min(budget, device->free_bytes() / 2);
  }
  const int64_t budget_blocks = static_cast<int64_t>(budget) / block_bytes;
  const int64_t wanted = options_.context_length != 0 ? options_.context_length : model_.config.context_length;
  context_length_ = wanted;
  if (options_.context_length == 0) context_length_ = std::min(wanted, budget_blocks * kKvBlockTokens);
  const int64_t needed = DivideUp(context_length_, kKvBlockTokens);
  if (context_length_ < 1 || needed > budget_blocks) {
    return ResourceExhausted(
        "a context of {} tokens needs {} bytes of KV cache and {} are allowed; lower the context length or allow more",
        wanted, DivideUp(wanted, kKvBlockTokens) * block_bytes, budget);
  }
  LEM_ASSIGN_OR_RETURN(pool_, KvBlockPool::Create(memory_, kv_layout_.block_bytes, budget_blocks));
  for (Device* device : placed_->devices()) {
    if (device->memory() != nullptr) LEM_TRY(pool_->MapTo(*device->memory()));
  }
  return OkStatus();
}

int64_t Engine::AnswerLimit(const GenerateRequest& request) const {
  const int64_t room = context_length_ - static_cast<int64_t>(request.prompt.size());
  return request.max_tokens < 0 ? room : std::min<int64_t>(room, request.max_tokens);
}

int64_t Engine::BlocksFor(const GenerateRequest& request) const {
  // The last token of an answer is never computed, but counting it keeps a prompt of one token with no answer at one
  // block.
  const int64_t positions = static_cast<int64_t>(request.prompt.size()) + AnswerLimit(request);
  return DivideUp(std::max<int64_t>(positions, 1), kKvBlockTokens);
}

void Engine::Add(SequenceId id, const std::shared_ptr<const GenerateRequest>& request,
                 std::shared_ptr<EventSink> sink) {
  const uint64_t seed = request->sampling.seed.value_or(id * 0x9e3779b97f4a7c15u ^ std::random_device{}());
  auto sequence = std::make_unique<Sequence>(Sequence{
      .id = id, .request = request, .sink = std::move(sink), .sampler = {request->sampling, seed, request->prompt}});
  sequence->answer_limit = AnswerLimit(*request);
  const int64_t num_blocks = BlocksFor(*request);
  for (int64_t i = 0; i < num_blocks; ++i) {
    const std::optional<BlockId> block = pool_->Allocate();
    LEM_CHECK(block.has_value()) << "the scheduler admitted a sequence without blocks for it";
    sequence->blocks.push_back(*block);
    if (kv_residency_ != nullptr) kv_residency_->Forget(*block);
  }
  sequences_.emplace(id, std::move(sequence));
}

void Engine::Remove(SequenceId id) {
  const auto it = sequences_.find(id);
  if (it == sequences_.end()) return;
  for (const BlockId block : it->second->blocks) pool_->Release(block);
  sequences_.erase(it);
}

Usage Engine::UsageOf(SequenceId id) const {
  const Sequence& sequence = *sequences_.at(id);
  const Clock::time_point now = Clock::now();
  const bool prefilled = sequence.prefill_done != Clock::time_point{};
  Usage usage;
  usage.prompt_tokens = static_cast<int32_t>(sequence.prompt_size());
  usage.completion_tokens = static_cast<int32_t>(sequence.generated.size());
  usage.prefill_ms = MillisecondsBetween(sequence.started, prefilled ? sequence.prefill_done : now);
  if (prefilled) usage.decode_ms = MillisecondsBetween(sequence.prefill_done, now);
  return usage;
}

void Engine::GatherRows(const std::vector<EngineRows>& rows) {
  tokens_.clear();
  sequence_rows_.clear();
  output_rows_.clear();
  for (const EngineRows& row : rows) {
    const Sequence& sequence = *sequences_.at(row.id);
    const auto row_begin = static_cast<int64_t>(tokens_.size());
    sequence_rows_.push_back({row_begin, row.num_tokens, sequence.num_computed, sequence.blocks});
    const bool all_outputs = sequence.wants_all_outputs();
    for (int64_t i = 0; i < row.num_tokens; ++i) {
      const int64_t position = sequence.num_computed + i;
      tokens_.push_back(sequence.token_at(position));
      const bool last = position + 1 >= sequence.prompt_size();
      if (all_outputs || last) output_rows_.push_back(static_cast<int32_t>(row_begin + i));
    }
  }
}

Engine::StepOutcome Engine::Step(const std::vector<EngineRows>& rows) {
  StepOutcome outcome;
  const auto step = [&](const std::vector<EngineRows>& some, Phase phase) {
    if (some.empty()) return;
    Status status = StepPhase(some, phase, outcome.finished);
    if (status.ok()) return;
    for (const EngineRows& row : some) outcome.failed.push_back(row.id);
    outcome.error = std::move(status);
  };
  if (placed_->phases_are_alike()) {
    step(rows, Phase::kPrefill);
    return outcome;
  }
  std::array<std::vector<EngineRows>, 2> by_phase;
  for (const EngineRows& row : rows) {
    by_phase[static_cast<size_t>(sequences_.at(row.id)->in_prompt() ? Phase::kPrefill : Phase::kDecode)].push_back(row);
  }
  // Answers first: they wait for one token, prompts for many.
  for (const Phase phase : {Phase::kDecode, Phase::kPrefill}) step(by_phase[static_cast<size_t>(phase)], phase);
  return outcome;
}

Status Engine::StepPhase(const std::vector<EngineRows>& rows, Phase phase, std::vector<FinishedSequence>& finished) {
  GatherRows(rows);
  Bindings bindings;
  bindings.tokens = tokens_;
  bindings.sequences = sequence_rows_;
  bindings.output_rows = output_rows_;
  bindings.kv_base = pool_->base();
  bindings.kv_block_bytes = pool_->block_bytes();
  LEM_TRY(RunOrRecover(bindings, phase));

  const auto vocab = static_cast<size_t>(model_.graph.vocab_size);
  float* logits = executor(phase).logits();
  for (const EngineRows& row : rows) {
    Sequence& sequence = *sequences_.at(row.id);
    const bool all_outputs = sequence.wants_all_outputs();
    const bool reaches_end = sequence.num_computed + row.num_tokens >= sequence.prompt_size();
    const std::optional<FinishReason> reason = HandleOutputs(sequence, row.num_tokens, logits);
    logits += vocab * static_cast<size_t>(all_outputs ? row.num_tokens : (reaches_end ? 1 : 0));
    if (!reason) continue;
    finished.push_back({row.id, *reason, UsageOf(row.id)});
    Remove(row.id);
  }
  return OkStatus();
}

// --- lost devices ---

Status Engine::RunOrRecover(const Bindings& bindings, Phase phase) {
  for (;;) {
    const Status status = executor(phase).Run(bindings, kv_residency_.get());
    if (status.ok()) return OkStatus();
    LEM_TRY(LeaveLostDevices(status));
  }
}

// Moves the work of devices that were lost to the CPU. Keys and values that were in their memory are computed anew, in
// the numerics of the CPU. Returns `cause` if no device was lost.
Status Engine::LeaveLostDevices(const Status& cause) {
  Placement placement = placed_->placement();
  std::vector<SpaceId> lost_spaces;
  bool any_lost = false;
  for (Device* device : placed_->devices()) {
    const Status health = device->health();
    if (health.ok()) continue;
    any_lost = true;
    LogError("device {} is lost ({}): its work goes on on the CPU, {} sequences are under way", device->caps().id,
             health.message(), sequences_.size());
    placement = placement.Without(device->caps().id, "cpu");
    lost_spaces.push_back(placed_->SpaceOf(device->caps().id));
  }
  if (!any_lost) return cause;
  std::vector<const Sequence*> to_replay;
  for (const auto& [id, sequence] : sequences_) {
    LEM_ASSIGN_OR_RETURN(const bool complete, BringKvToHost(*sequence, lost_spaces));
    if (!complete) to_replay.push_back(sequence.get());
  }
  LEM_TRY(Place(placement));
  LEM_TRY(MakeExecutors());
  if (kv_residency_ != nullptr) {
    for (const auto& [id, sequence] : sequences_) {
      for (const BlockId block : sequence->blocks) {
        for (int32_t layer = 0; layer < model_.graph.kv.num_layers; ++layer) {
          kv_residency_->MarkWritten(block, layer, kHostSpace);
        }
      }
    }
  }
  for (const Sequence* sequence : to_replay) LEM_TRY(Replay(*sequence));
  return OkStatus();
}

// False if something was only in a lost memory.
Result<bool> Engine::BringKvToHost(const Sequence& sequence, const std::vector<SpaceId>& lost_spaces) {
  if (kv_residency_ == nullptr) return true;
  const auto num_blocks = static_cast<size_t>(DivideUp(sequence.num_computed, kKvBlockTokens));
  for (size_t i = 0; i < num_blocks; ++i) {
    for (int32_t layer = 0; layer < model_.graph.kv.num_layers; ++layer) {
      const BlockId block = sequence.blocks[i];
      const bool is_lost = std::ranges::any_of(lost_spaces, [&](SpaceId space) {
        return space != kHostSpace && kv_residency_->IsOnlyIn(block, layer, space);
      });
      if (is_lost) return false;
      LEM_TRY(kv_residency_->Bring(block, layer, kHostSpace));
    }
  }
  return true;
}

// Computes the keys and values of a sequence from its tokens again.
Status Engine::Replay(const Sequence& sequence) {
  for (int64_t position = 0; position < sequence.num_computed;) {
    const int64_t count = std::min(options_.max_step_tokens, sequence.num_computed - position);
    std::vector<int32_t> tokens;
    tokens.reserve(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) tokens.push_back(sequence.token_at(position + i));
    const SequenceRows rows[] = {{0, count, position, sequence.blocks}};
    Bindings bindings;
    bindings.tokens = tokens;
    bindings.sequences = rows;
    bindings.kv_base = pool_->base();
    bindings.kv_block_bytes = pool_->block_bytes();
    LEM_TRY(executor(Phase::kPrefill).Run(bindings, kv_residency_.get()));
    position += count;
  }
  return OkStatus();
}

std::optional<FinishReason> Engine::HandleOutputs(Sequence& sequence, int64_t num_tokens, float* logits) {
  const auto vocab = static_cast<size_t>(model_.graph.vocab_size);
  const int64_t first = sequence.num_computed;
  const bool was_prefill = first < sequence.prompt_size();
  if (sequence.wants_all_outputs()) {
    for (int64_t i = 0; i < num_tokens; ++i) {
      RecordPromptLogprob(sequence, first + i + 1, {logits + static_cast<size_t>(i) * vocab, vocab});
    }
    logits += vocab * static_cast<size_t>(num_tokens - 1);
  }
  sequence.num_computed += num_tokens;
  if (was_prefill) {
    sequence.sink->Emit(PrefillProgressEvent{static_cast<int32_t>(sequence.num_computed),
                                             static_cast<int32_t>(sequence.prompt_size())});
    if (sequence.num_computed < sequence.prompt_size()) return std::nullopt;
    sequence.prefill_done = Clock::now();
    if (sequence.request->prompt_logprobs) {
      sequence.sink->Emit(PromptLogprobsEvent{std::move(sequence.prompt_logprobs)});
    }
    if (sequence.answer_limit <= 0) return FinishReason::kLength;
  }
  return EmitNextToken(sequence, {logits, vocab});
}

std::optional<FinishReason> Engine::EmitNextToken(Sequence& sequence, std::span<float> logits) {
  const GenerateRequest& request = *sequence.request;
  TokenEvent event;
  float log_sum = 0;
  if (request.num_logprobs >= 0) {
    log_sum = kernels_.log_sum_exp(logits.data(), static_cast<int64_t>(logits.size()));
    event.top = TopLogprobs(logits, log_sum, request.num_logprobs);
    // The sampler changes logits in place, so the chosen one's own value is kept by looking before it.
    sampler_scratch_.original.assign(logits.begin(), logits.end());
  }
  event.token = sequence.sampler.Sample(logits, kernels_, sampler_scratch_);
  if (request.num_logprobs >= 0) {
    event.logprob = sampler_scratch_.original[static_cast<size_t>(event.token)] - log_sum;
  }
  if (!request.ignore_end_tokens && model_.tokenizer->IsEndOfGeneration(event.token)) return FinishReason::kStop;
  sequence.generated.push_back(event.token);
  sequence.sink->Emit(std::move(event));
  if (static_cast<int64_t>(sequence.generated.size()) >= sequence.answer_limit) return FinishReason::kLength;
  return std::nullopt;
}

// `logits` are those of the row before prompt token `prompt_idx`.
void Engine::RecordPromptLogprob(Sequence& sequence, int64_t prompt_idx, std::span<const float> logits) {
  std::vector<TokenEvent>& out = sequence.prompt_logprobs;
  if (out.empty()) out.push_back({sequence.request->prompt[0], std::numeric_limits<float>::quiet_NaN(), {}});
  if (prompt_idx >= sequence.prompt_size()) return;
  const float log_sum = kernels_.log_sum_exp(logits.data(), static_cast<int64_t>(logits.size()));
  TokenEvent entry;
  entry.token = sequence.request->prompt[static_cast<size_t>(prompt_idx)];
  entry.logprob = logits[static_cast<size_t>(entry.token)] - log_sum;
  entry.top = TopLogprobs(logits, log_sum, sequence.request->num_logprobs);
  out.push_back(std::move(entry));
}

}  // namespace lem
