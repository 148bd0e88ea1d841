#include "engine/engine.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/cpu_info.h"

namespace lem {
namespace {

// Bytes of logits one step may produce: prompt logprobs of large vocabularies are computed in smaller steps instead of
// holding hundreds of MiB.
constexpr int64_t kMaxLogitsBytes = int64_t{16} << 20;
// Sequences that can run at once must each get a row of logits.
constexpr int64_t kMinStepOutputs = 16;

constexpr int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

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
  int64_t num_computed = 0;  // positions whose KV exists
  int32_t num_generated = 0;
  int32_t next_token = 0;  // sampled and not computed yet; valid when the prompt is done
  std::vector<TokenEvent> prompt_logprobs;
  Clock::time_point started = Clock::now();
  Clock::time_point prefill_done{};

  int64_t prompt_size() const { return static_cast<int64_t>(request->prompt.size()); }
  bool wants_all_outputs() const { return request->prompt_logprobs && num_computed < prompt_size(); }
};

Engine::Engine(const Model& model, const KernelTable& kernels, const EngineOptions& options)
    : model_(model), kernels_(kernels), options_(options) {}

Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::Create(const Model& model, const DeviceRegistry& devices,
                                               const KernelTable& kernels, const EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine(model, kernels, options));
  LEM_TRY(engine->ChooseMemory());
  const auto row_bytes = static_cast<int64_t>(sizeof(float)) * model.graph.vocab_size;
  engine->max_step_outputs_ =
      std::clamp(kMaxLogitsBytes / row_bytes, kMinStepOutputs, std::max(kMinStepOutputs, options.max_step_tokens));
  engine->bound_ = BoundGraph{&model.graph, model.bound_weights, &model.weights};
  const ShapeBucket bucket{options.max_step_tokens, engine->max_step_outputs_};
  LEM_ASSIGN_OR_RETURN(engine->executor_,
                       Executor::Create(engine->bound_, SingleDevicePlan(model.graph, bucket, "cpu"), devices));
  return engine;
}

Status Engine::ChooseMemory() {
  kv_layout_ = MakeKvBlockLayout(model_.graph.kv);
  const auto block_bytes = static_cast<int64_t>(kv_layout_.block_bytes);
  const MemoryInfo memory = GetMemoryInfo();
  const uint64_t budget = options_.kv_cache_bytes != 0 ? options_.kv_cache_bytes : memory.available_bytes / 2;
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
  LEM_ASSIGN_OR_RETURN(pool_, KvBlockPool::Create(kv_layout_.block_bytes, budget_blocks));
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

void Engine::Add(SequenceId id, std::shared_ptr<const GenerateRequest> request, std::shared_ptr<EventSink> sink) {
  const uint64_t seed = request->sampling.seed.value_or(id * 0x9e3779b97f4a7c15u ^ std::random_device{}());
  auto sequence = std::make_unique<Sequence>(Sequence{
      .id = id, .request = request, .sink = std::move(sink), .sampler = {request->sampling, seed, request->prompt}});
  sequence->answer_limit = AnswerLimit(*request);
  const int64_t num_blocks = BlocksFor(*request);
  for (int64_t i = 0; i < num_blocks; ++i) {
    const std::optional<BlockId> block = pool_->Allocate();
    LEM_CHECK(block.has_value()) << "the scheduler admitted a sequence without blocks for it";
    sequence->blocks.push_back(*block);
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
  usage.completion_tokens = sequence.num_generated;
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
      const bool in_prompt = position < sequence.prompt_size();
      tokens_.push_back(in_prompt ? sequence.request->prompt[static_cast<size_t>(position)] : sequence.next_token);
      const bool last = position + 1 >= sequence.prompt_size();
      if (all_outputs || last) output_rows_.push_back(static_cast<int32_t>(row_begin + i));
    }
  }
}

Result<std::vector<Engine::FinishedSequence>> Engine::Step(const std::vector<EngineRows>& rows) {
  GatherRows(rows);
  const auto vocab = static_cast<size_t>(model_.graph.vocab_size);
  if (logits_.size() < output_rows_.size() * vocab) logits_.resize(output_rows_.size() * vocab);
  Bindings bindings;
  bindings.tokens = tokens_;
  bindings.sequences = sequence_rows_;
  bindings.output_rows = output_rows_;
  bindings.kv_base = pool_->base();
  bindings.kv_block_bytes = pool_->block_bytes();
  LEM_TRY(executor_->Run(bindings, logits_.data()));

  std::vector<FinishedSequence> finished;
  float* logits = logits_.data();
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
  return finished;
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
  sequence.next_token = event.token;
  ++sequence.num_generated;
  sequence.sink->Emit(std::move(event));
  if (sequence.num_generated >= sequence.answer_limit) return FinishReason::kLength;
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
