#include "engine/engine.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "base/check.h"
#include "base/cpu_info.h"
#include "base/duration.h"
#include "base/integer_math.h"
#include "base/log.h"
#include "engine/engine_sequence.h"

namespace lem {
namespace {

// Bytes of logits one step may produce: prompt logprobs of large vocabularies are computed in smaller steps instead of
// holding hundreds of MiB.
constexpr int64_t kMaxLogitsBytes = int64_t{16} << 20;
// Sequences that can run at once must each get a row of logits.
constexpr int64_t kMinStepOutputs = 32;
// Tokens that a step computes for a sequence beside what it was asked for: forced or guessed ones.
constexpr int64_t kMaxForced = 64;
constexpr int64_t kMaxGuesses = 8;

}  // namespace

Engine::Engine(const Model& model, const DeviceRegistry& devices, MemoryManager& memory, const KernelTable& kernels,
               const EngineOptions& options)
    : model_(model),
      devices_(devices),
      memory_(memory),
      kernels_(kernels),
      options_(options),
      routes_({&model.graph, model.bound_weights, &model.weights}, devices, memory) {}

Engine::~Engine() { SavePrefixes(); }

Result<std::unique_ptr<Engine>> Engine::Create(const Model& model, const DeviceRegistry& devices, MemoryManager& memory,
                                               const KernelTable& kernels, const EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine(model, devices, memory, kernels, options));
  const auto row_bytes = static_cast<int64_t>(sizeof(float)) * model.graph.vocab_size;
  engine->max_step_outputs_ =
      std::clamp(kMaxLogitsBytes / row_bytes, kMinStepOutputs, std::max(kMinStepOutputs, options.max_step_tokens));
  LEM_ASSIGN_OR_RETURN(auto route, engine->routes_.Place(options.placement));
  LEM_TRY(engine->CheckDeterminism(route->placed()));
  LEM_TRY(engine->ChooseMemory(route->placed()));
  const bool compiles_slowly = std::ranges::any_of(route->placed().devices(),
                                                   [](const Device* device) { return device->caps().compiles_slowly; });
  // A memory of its own would need the keys and values of both ways.
  if (compiles_slowly && route->placed().all_in_host_memory() && !options.wait_for_devices && !options.deterministic) {
    LEM_TRY(engine->StartOnCpu(std::move(route)));
  } else {
    LEM_ASSIGN_OR_RETURN(engine->route_, engine->routes_.Open(std::move(route)));
  }
  return engine;
}

Status Engine::CheckDeterminism(const PlacedModel& placed) const {
  if (!options_.deterministic) return OkStatus();
  if (options_.placement.handover) {
    return InvalidArgument(
        "the placement asks for \"handover\", which changes the numerics of running answers; deterministic answers "
        "forbid it: leave one of them out");
  }
  for (const Device* device : placed.devices()) {
    if (!device->caps().bits_depend_on_step) continue;
    return InvalidArgument(
        "{} computes in graphs of different lengths, whose bits differ; deterministic answers need a device without "
        "them: leave it out of the placement",
        device->caps().id);
  }
  const std::vector<std::string_view> prefill = placed.Numerics(Phase::kPrefill),
                                      decode = placed.Numerics(Phase::kDecode);
  const auto [first, second] = std::ranges::mismatch(prefill, decode);
  if (first == prefill.end()) return OkStatus();
  return InvalidArgument(
      "the placement computes prompts in the numerics {} and answers in {}; deterministic answers need one for both: "
      "place both phases on one device that has one, such as \"all cpu\"",
      *first, *second);
}

// --- devices that compile slowly ---

Status Engine::StartOnCpu(std::unique_ptr<Route> wanted) {
  Placement meanwhile = options_.placement;
  for (const Device* device : wanted->placed().devices()) {
    if (device->caps().compiles_slowly) meanwhile = meanwhile.Without(device->caps().id, "cpu");
  }
  LEM_ASSIGN_OR_RETURN(auto route, routes_.Place(meanwhile));
  LEM_ASSIGN_OR_RETURN(route_, routes_.Open(std::move(route)));
  compiling_since_ = Clock::now();
  wanted_ = FormatPlacement(options_.placement);
  routes_.Prepare(std::move(wanted));
  return OkStatus();
}

void Engine::WaitForDevices() {
  routes_.Wait(wanted_);
  TakeCompiledRoute();
}

namespace {

bool SameNumerics(const Route& a, const Route& b) {
  return std::ranges::all_of(std::array{Phase::kPrefill, Phase::kDecode},
                             [&](Phase phase) { return a.placed().Numerics(phase) == b.placed().Numerics(phase); });
}

}  // namespace

// New sequences take the route that was asked for as soon as it is there. Running ones change over where no bit can
// change, or where the user asked for it: their keys and values stay where they are.
void Engine::TakeCompiledRoute() {
  if (wanted_.empty()) return;
  const std::optional<RouteInfo> info = routes_.Info(wanted_);
  if (info && info->state == RouteState::kOpening) return;
  const std::string wanted = std::exchange(wanted_, {});
  if (!info) return;  // a device of it was lost
  if (info->state == RouteState::kFailed) {
    placement_status_ = info->error;
    LogError("the model cannot be placed as asked for, its requests stay on the CPU: {}", placement_status_.message());
    return;
  }
  const std::shared_ptr<Route> before = std::exchange(route_, routes_.Find(wanted));
  const bool same = SameNumerics(*before, *route_);
  int64_t num_moved = 0;
  for (const auto& [id, sequence] : sequences_) {
    if (sequence->route != before || (!same && !options_.placement.handover && sequence->num_computed > 0)) continue;
    sequence->route = route_;
    if (!same && sequence->num_computed > 0) {
      ++sequence->handovers;
      sequence->cache_space.clear();  // of two numerics by now
    }
    ++num_moved;
  }
  LogInfo("devices {} have compiled after {:.1f} s and take new requests; {} of {} running ones move",
          fmt::join(options_.placement.DeviceIds(), ", "), MillisecondsBetween(compiling_since_, Clock::now()) / 1000,
          num_moved, sequences_.size());
}

bool Engine::MoveTo(SequenceId id, const std::string& placement) {
  Sequence& sequence = *sequences_.at(id);
  std::shared_ptr<Route> route = routes_.Find(placement);
  if (route == nullptr || sequence.route == nullptr || sequence.is_embedding()) return false;
  if (sequence.num_computed > 0 && !SameNumerics(*sequence.route, *route)) return false;
  sequence.route = std::move(route);
  return true;
}

std::string Engine::PlacementOf(SequenceId id) const {
  const std::shared_ptr<Route>& route = sequences_.at(id)->route;
  return route == nullptr ? "" : FormatPlacement(route->placed().placement());
}

Status Engine::ChooseMemory(const PlacedModel& placed) {
  kv_layout_ = MakeKvBlockLayout(model_.graph.kv);
  const auto block_bytes = static_cast<int64_t>(kv_layout_.block_bytes);
  uint64_t budget = options_.kv_cache_limit != 0 ? options_.kv_cache_limit : GetMemoryInfo().available_bytes / 2;
  if (options_.kv_cache_bytes != 0) budget = options_.kv_cache_bytes;
  // What a device with a memory of its own has to spare, less what activations will take.
  for (Device* device : placed.devices()) {
    if (devices_.SpaceOf(*device) == kHostSpace || options_.kv_cache_bytes != 0) continue;
    budget = std::min(budget, device->memory()->free_bytes() / 2);
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
  if (devices_.space_memory().size() > 1) {
    kv_residency_ = std::make_unique<KvResidency>(*pool_, model_.graph.kv.num_layers, kv_layout_.layer_bytes,
                                                  devices_.space_memory());
  }
  if (options_.cache_prefixes) {
    prefix_cache_ = std::make_unique<PrefixCache>(*pool_);
    OpenPrefixes();
  }
  routes_.SetSteps(*pool_, options_.max_step_tokens, max_step_outputs_);
  return OkStatus();
}

int64_t Engine::AnswerLimit(const GenerateRequest& request) const {
  if (request.pooling != Pooling::kNone) return 0;
  const int64_t room = context_length_ - static_cast<int64_t>(request.prompt.size());
  return request.max_tokens < 0 ? room : std::min<int64_t>(room, request.max_tokens);
}

int64_t Engine::BlocksFor(const GenerateRequest& request) const {
  // The last token of an answer is never computed, but counting it keeps a prompt of one token with no answer at one
  // block.
  const int64_t positions = static_cast<int64_t>(request.prompt.size()) + AnswerLimit(request);
  return DivideUp(std::max<int64_t>(positions, 1), kKvBlockTokens);
}

namespace {

bool PhasesRoundAlike(const Route& route) {
  return route.placed().Numerics(Phase::kPrefill) == route.placed().Numerics(Phase::kDecode);
}

// Keys and values of prompts are shared where each op rounds alike.
std::string CacheSpaceOf(const Route& route, const GenerateRequest& request) {
  const std::vector<std::string_view> numerics = route.placed().Numerics(Phase::kPrefill);
  std::string space;
  std::string_view last;
  for (const std::string_view each : numerics) {
    if (each != last) space += fmt::format("{};", each);
    last = each;
  }
  return fmt::format("{}{}\n{}", space, numerics.size(), request.cache_salt);
}

}  // namespace

// The scheduler counted idle blocks as free.
// Takes one from the prefix cache if none is free.
std::optional<BlockId> Engine::TryNewBlock() {
  std::optional<BlockId> block = pool_->Allocate();
  if (!block && prefix_cache_ != nullptr && prefix_cache_->EvictOne()) block = pool_->Allocate();
  return block;
}

BlockId Engine::NewBlock() {
  const std::optional<BlockId> block = TryNewBlock();
  LEM_CHECK(block.has_value()) << "the scheduler admitted a sequence without blocks for it";
  if (kv_residency_ != nullptr) kv_residency_->Forget(*block);
  return *block;
}

// Empty if its prompt is not shared.
std::string Engine::CacheSpaceFor(const GenerateRequest& request, const Route* route) const {
  if (prefix_cache_ == nullptr || route == nullptr || request.prompt_logprobs) return {};
  if (request.pooling != Pooling::kNone) return {};
  return CacheSpaceOf(*route, request);
}

int64_t Engine::CountKnownTokens(const GenerateRequest& request, const std::string& placement) const {
  std::shared_ptr<Route> route = placement.empty() ? nullptr : routes_.Find(placement);
  if (route == nullptr) route = route_;
  const std::string space = CacheSpaceFor(request, route.get());
  if (space.empty()) return 0;
  return prefix_cache_->CountKnown(space, std::span(request.prompt).first(request.prompt.size() - 1)) * kKvBlockTokens;
}

int64_t Engine::Add(SequenceId id, const std::shared_ptr<const GenerateRequest>& request,
                    std::shared_ptr<EventSink> sink, const std::string& placement,
                    std::unique_ptr<Constraint> constraint) {
  TakeCompiledRoute();
  const uint64_t seed = request->sampling.seed.value_or(id * 0x9e3779b97f4a7c15u ^ std::random_device{}());
  auto sequence = std::make_unique<Sequence>(Sequence{
      .id = id, .request = request, .sink = std::move(sink), .sampler = {request->sampling, seed, request->prompt}});
  sequence->constraint = std::move(constraint);
  if (!placement.empty()) sequence->route = routes_.Find(placement);
  if (sequence->route == nullptr) sequence->route = route_;
  if (sequence->is_embedding()) {
    // Without it the sequence fails with its first step.
    Result<std::shared_ptr<Route>> hidden = HiddenRoute();
    if (!hidden.ok()) LogError("embeddings cannot be computed: {}", hidden.status().message());
    sequence->route = hidden.ok() ? *hidden : nullptr;
  }
  sequence->answer_limit = AnswerLimit(*request);
  sequence->cache_space = CacheSpaceFor(*request, sequence->route.get());
  if (options_.speculation != EngineOptions::Speculation::kOff && !sequence->is_embedding())
    sequence->drafter = std::make_unique<Drafter>();
  sequence->num_cached = TakeKnownBlocks(*sequence);
  if (!sequence->cache_space.empty()) {
    sequence->cache_miss = prefix_cache_->MissOf(sequence->cache_space, sequence->Tokens(0, sequence->num_known() - 1),
                                                 sequence->blocks.size());
  }
  const int64_t num_cached = sequence->num_cached;
  sequences_.emplace(id, std::move(sequence));
  return num_cached;
}

// Returns how many tokens have keys and values by that.
int64_t Engine::TakeKnownBlocks(Sequence& sequence) {
  if (sequence.cache_space.empty()) return 0;
  // The last token is computed in any case: its logits are asked for.
  sequence.blocks = prefix_cache_->Take(sequence.cache_space, sequence.Tokens(0, sequence.num_known() - 1));
  sequence.num_computed = static_cast<int64_t>(sequence.blocks.size()) * kKvBlockTokens;
  return sequence.num_computed;
}

int64_t Engine::Interrupt(SequenceId id) {
  Sequence& sequence = *sequences_.at(id);
  Remember(sequence);
  for (const BlockId block : sequence.blocks) pool_->Release(block);
  sequence.blocks.clear();
  sequence.num_computed = 0;
  if (!sequence.prompt_is_done()) sequence.prompt_logprobs.clear();
  sequence.pooled.clear();
  return sequence.num_known();
}

int64_t Engine::Resume(SequenceId id) { return TakeKnownBlocks(*sequences_.at(id)); }

void Engine::Remember(const Sequence& sequence) {
  if (prefix_cache_ == nullptr || sequence.cache_space.empty() || sequence.num_computed < kKvBlockTokens) return;
  // Of answers only where they round as a prompt would: who takes them over must not see another text for it.
  const bool with_answer = sequence.route != nullptr && PhasesRoundAlike(*sequence.route);
  const int64_t count = with_answer ? sequence.num_computed : std::min(sequence.num_computed, sequence.prompt_size());
  prefix_cache_->Insert(sequence.cache_space, sequence.Tokens(0, count), sequence.blocks);
}

void Engine::Remove(SequenceId id) {
  const auto it = sequences_.find(id);
  if (it == sequences_.end()) return;
  Remember(*it->second);
  for (const BlockId block : it->second->blocks) pool_->Release(block);
  sequences_.erase(it);
}

Usage Engine::UsageOf(SequenceId id) const {
  const Sequence& sequence = *sequences_.at(id);
  const Clock::time_point now = Clock::now();
  const bool prefilled = sequence.prompt_is_done();
  Usage usage;
  usage.prompt_tokens = static_cast<int32_t>(sequence.prompt_size());
  usage.completion_tokens = static_cast<int32_t>(sequence.generated.size());
  usage.handovers = sequence.handovers;
  usage.cached_tokens = static_cast<int32_t>(sequence.num_cached);
  usage.cache_miss = sequence.cache_miss;
  usage.guessed_tokens = static_cast<int32_t>(sequence.num_guessed_right);
  usage.prefill_ms = MillisecondsBetween(sequence.started, prefilled ? sequence.prefill_done : now);
  if (prefilled) usage.decode_ms = MillisecondsBetween(sequence.prefill_done, now);
  return usage;
}

void Engine::GatherRows(Batch& batch) const {
  for (size_t r = 0; r < batch.rows.size(); ++r) {
    const EngineRows& row = batch.rows[r];
    const Sequence& sequence = *sequences_.at(row.id);
    const auto row_begin = static_cast<int64_t>(batch.tokens.size());
    batch.sequences.push_back({row_begin, row.num_tokens, sequence.num_computed, sequence.blocks});
    const bool all_outputs = sequence.wants_all_outputs();
    const int64_t num_known = sequence.num_known();
    for (int64_t i = 0; i < row.num_tokens; ++i) {
      const int64_t position = sequence.num_computed + i;
      batch.tokens.push_back(position < num_known ? sequence.token_at(position)
                                                  : batch.guesses[r][static_cast<size_t>(position - num_known)]);
      if (sequence.is_embedding() ? WantsOutput(sequence, position) : all_outputs || position + 1 >= num_known)
        batch.output_rows.push_back(static_cast<int32_t>(row_begin + i));
    }
  }
}

Bindings Engine::BindingsOf(const Batch& batch) const {
  Bindings bindings;
  bindings.tokens = batch.tokens;
  bindings.sequences = batch.sequences;
  bindings.output_rows = batch.output_rows;
  bindings.kv_base = pool_->base();
  bindings.kv_block_bytes = pool_->block_bytes();
  return bindings;
}

Engine::BatchRun Engine::DescribeRun(const Batch& batch) const {
  BatchRun run{.route = batch.route, .phase = batch.phase, .rows = batch.rows};
  double context = 0;
  for (const SequenceRows& sequence : batch.sequences) {
    const auto rows = static_cast<double>(sequence.num_rows);
    context += rows * (static_cast<double>(sequence.first_position) + (rows + 1) / 2);
  }
  run.mean_context = context / static_cast<double>(batch.tokens.size());
  run.num_outputs = static_cast<int64_t>(batch.output_rows.size());
  for (const EngineRows& row : batch.rows) {
    (sequences_.at(row.id)->in_prompt() ? run.has_prompts : run.has_answers) = true;
  }
  run.timings = batch.route->executor(batch.phase).timings();
  return run;
}

// Batches of different ways are begun together, so that devices with queues of their own work beside the CPU.
Engine::StepOutcome Engine::Step(const std::vector<EngineRows>& rows) {
  TakeCompiledRoute();
  StepOutcome outcome;
  const Clock::time_point begin = Clock::now();
  std::vector<Batch> batches = MakeBatches(ChooseRows(rows));
  for (Batch& batch : batches) {
    GatherRows(batch);
    if (batch.route == nullptr) {
      batch.status = Unavailable("a device was lost and the model could not be placed without it");
    } else {
      batch.route->executor(batch.phase).Start(BindingsOf(batch), kv_residency_.get());
    }
  }
  for (const Batch& batch : batches) PrepareMasks(batch);
  for (Batch& batch : batches) {
    if (batch.route != nullptr) batch.status = batch.route->executor(batch.phase).Finish();
    if (!batch.status.ok()) continue;
    // What is known of the model's cost is known of the whole model.
    if (batch.route != hidden_route_) {
      outcome.runs.push_back(DescribeRun(batch));
      if (batches.size() == 1 && !outcome.runs.back().has_prompts) {
        draft_policy_.RecordStep(static_cast<int64_t>(batch.tokens.size()),
                                 MillisecondsBetween(begin, Clock::now()) / 1000);
      }
    }
    HandleBatch(batch, outcome);
  }
  // Only now, when all that was computed is counted: a replay begins there.
  for (Batch& batch : batches) {
    if (batch.status.ok()) continue;
    if (batch.route != nullptr) batch.status = Recover(batch);
    if (batch.status.ok()) {
      HandleBatch(batch, outcome);
      continue;
    }
    for (const EngineRows& row : batch.rows) outcome.failed.push_back(row.id);
    outcome.error = std::move(batch.status);
  }
  return outcome;
}

// Beside what was asked for: tokens that a grammar forced have no keys and values yet, and tokens that probably follow
// can be looked at; as many as the step and the pool have room for. Gives every sequence its blocks.
std::vector<Engine::SequenceStep> Engine::ChooseRows(const std::vector<EngineRows>& rows) {
  int64_t room = options_.max_step_tokens, outputs = max_step_outputs_;
  const auto grow = [&](Sequence& sequence, int64_t num_tokens) {
    const auto wanted = static_cast<size_t>(DivideUp(sequence.num_computed + num_tokens, kKvBlockTokens));
    while (sequence.blocks.size() < wanted) sequence.blocks.push_back(NewBlock());
  };
  for (const EngineRows& row : rows) {
    Sequence& sequence = *sequences_.at(row.id);
    grow(sequence, row.num_tokens);
    room -= row.num_tokens;
    if (!sequence.is_embedding()) outputs -= sequence.wants_all_outputs() ? row.num_tokens : 1;
  }
  int64_t num_rows = options_.max_step_tokens - room;
  std::vector<SequenceStep> steps;
  steps.reserve(rows.size());
  for (const EngineRows& row : rows) {
    SequenceStep& step = steps.emplace_back(SequenceStep{row, {}});
    Sequence& sequence = *sequences_.at(row.id);
    if (sequence.in_prompt()) continue;
    const int64_t held = static_cast<int64_t>(sequence.blocks.size()) * kKvBlockTokens - sequence.num_computed;
    const int64_t free = held + (pool_->num_free() + pool_->num_idle()) * kKvBlockTokens - row.num_tokens;
    const int64_t forced = sequence.num_known() - sequence.num_computed - row.num_tokens;
    if (forced > 0) {
      if (forced <= kMaxForced) step.rows.num_tokens += std::min({forced, room, free});
    } else {
      step.guesses = Guess(sequence, num_rows, std::min({room, outputs, free}));
      step.rows.num_tokens += static_cast<int64_t>(step.guesses.size());
      outputs -= static_cast<int64_t>(step.guesses.size());
    }
    const int64_t added = step.rows.num_tokens - row.num_tokens;
    room -= added;
    num_rows += added;
    grow(sequence, step.rows.num_tokens);
  }
  return steps;
}

std::vector<int32_t> Engine::Guess(Sequence& sequence, int64_t rows, int64_t room) {
  if (sequence.drafter == nullptr || sequence.route == nullptr) return {};
  const auto depends_on_step = [](const Device* device) { return device->caps().bits_depend_on_step; };
  if (std::ranges::any_of(sequence.route->placed().devices(), depends_on_step)) return {};
  Drafter& drafter = *sequence.drafter;
  drafter.Append(sequence.Tokens(drafter.size(), sequence.num_known()));
  // The last token of an answer needs no successor.
  const int64_t wanted = sequence.answer_limit - static_cast<int64_t>(sequence.generated.size()) - 1;
  const int64_t limit = std::min({kMaxGuesses, room, wanted});
  std::vector<int32_t> guesses = drafter.Propose(limit);
  if (guesses.empty() || options_.speculation == EngineOptions::Speculation::kAlways) return guesses;
  const int64_t best = draft_policy_.BestLength(drafter.acceptance(), rows, static_cast<int64_t>(guesses.size()));
  if (best == 0) drafter.Record(0, 0);
  guesses.resize(static_cast<size_t>(best));
  return guesses;
}

// While devices work on the step whose logits they are for.
void Engine::PrepareMasks(const Batch& batch) const {
  for (const EngineRows& row : batch.rows) {
    Sequence& sequence = *sequences_.at(row.id);
    const bool reaches_end = sequence.num_computed + row.num_tokens >= sequence.num_known();
    if (sequence.constraint != nullptr && reaches_end) sequence.constraint->Prepare();
  }
}

std::vector<Engine::Batch> Engine::MakeBatches(std::vector<SequenceStep> steps) const {
  std::vector<Batch> batches;
  for (SequenceStep& step : steps) {
    const Sequence& sequence = *sequences_.at(step.rows.id);
    const bool one_phase = sequence.route == nullptr || sequence.route->placed().phases_are_alike();
    const Phase phase = one_phase || sequence.in_prompt() ? Phase::kPrefill : Phase::kDecode;
    auto batch = std::ranges::find_if(
        batches, [&](const Batch& known) { return known.route == sequence.route && known.phase == phase; });
    if (batch == batches.end()) batch = batches.insert(batch, {.route = sequence.route, .phase = phase});
    batch->rows.push_back(step.rows);
    batch->guesses.push_back(std::move(step.guesses));
  }
  // Answers first: they wait for one token, prompts for many. And before both what runs beside the host.
  const auto begins_on_host = [](const Batch& batch) {
    if (batch.route == nullptr) return true;
    const PlacedModel& placed = batch.route->placed();
    return placed.DeviceOf(placed.plan(batch.phase).steps.front().device_id).memory() == nullptr;
  };
  std::ranges::sort(batches, [&](const Batch& a, const Batch& b) {
    return std::pair(begins_on_host(a), a.phase != Phase::kDecode) <
           std::pair(begins_on_host(b), b.phase != Phase::kDecode);
  });
  return batches;
}

void Engine::HandleBatch(const Batch& batch, StepOutcome& outcome) {
  const auto vocab = static_cast<size_t>(model_.graph.vocab_size);
  float* logits = batch.route->executor(batch.phase).logits();
  for (size_t r = 0; r < batch.rows.size(); ++r) {
    const EngineRows& row = batch.rows[r];
    Sequence& sequence = *sequences_.at(row.id);
    const bool all_outputs = sequence.wants_all_outputs();
    const int64_t first = sequence.num_computed;
    if (sequence.is_embedding()) {
      int64_t num_states = 0;
      for (int64_t i = 0; i < row.num_tokens; ++i) num_states += WantsOutput(sequence, first + i) ? 1 : 0;
      const std::optional<FinishReason> reason = HandleHiddenStates(sequence, row.num_tokens, logits);
      logits += hidden_graph_.vocab_size * num_states;
      outcome.progress.push_back({row.id, row.num_tokens});
      if (!reason) continue;
      outcome.finished.push_back({row.id, *reason, UsageOf(row.id), OkStatus()});
      Remove(row.id);
      continue;
    }
    const int64_t num_outputs =
        all_outputs ? row.num_tokens : std::max<int64_t>(0, first + row.num_tokens - sequence.num_known() + 1);
    const std::optional<FinishReason> reason = HandleOutputs(sequence, row.num_tokens, batch.guesses[r], logits);
    logits += vocab * static_cast<size_t>(num_outputs);
    outcome.progress.push_back({row.id, sequence.num_computed - first});
    if (!reason) continue;
    outcome.finished.push_back({row.id, *reason, UsageOf(row.id), std::move(sequence.error)});
    Remove(row.id);
  }
}

std::optional<FinishReason> Engine::HandleOutputs(Sequence& sequence, int64_t num_tokens,
                                                  std::span<const int32_t> guesses, float* logits) {
  const auto vocab = static_cast<size_t>(model_.graph.vocab_size);
  const int64_t first = sequence.num_computed;
  const bool was_prefill = first < sequence.prompt_size() && !sequence.prompt_is_done();
  if (sequence.wants_all_outputs()) {
    for (int64_t i = 0; i < num_tokens; ++i) {
      RecordPromptLogprob(sequence, first + i + 1, {logits + static_cast<size_t>(i) * vocab, vocab});
    }
    logits += vocab * static_cast<size_t>(num_tokens - 1);
  }
  sequence.num_computed += num_tokens - static_cast<int64_t>(guesses.size());
  if (was_prefill) {
    sequence.sink->Emit(PrefillProgressEvent{static_cast<int32_t>(sequence.num_computed),
                                             static_cast<int32_t>(sequence.prompt_size())});
    if (sequence.num_computed < sequence.prompt_size()) return std::nullopt;
    sequence.prefill_done = Clock::now();
    Remember(sequence);  // who comes now need not wait for the end of the answer
    if (sequence.request->prompt_logprobs) {
      sequence.sink->Emit(PromptLogprobsEvent{std::move(sequence.prompt_logprobs)});
    }
    if (sequence.answer_limit <= 0) return FinishReason::kLength;
  }
  if (sequence.num_computed < sequence.num_known()) return std::nullopt;
  std::optional<FinishReason> reason = EmitNextToken(sequence, {logits, vocab});
  int64_t num_right = 0;
  for (const int32_t guess : guesses) {
    if (reason || sequence.token_at(sequence.num_computed) != guess) break;
    ++num_right;
    ++sequence.num_computed;
    logits += vocab;
    if (sequence.num_computed == sequence.num_known()) reason = EmitNextToken(sequence, {logits, vocab});
  }
  if (!guesses.empty()) sequence.drafter->Record(static_cast<int64_t>(guesses.size()), num_right);
  sequence.num_guessed_right += num_right;
  return reason;
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
  if (sequence.constraint != nullptr) {
    sequence.error = sequence.constraint->Mask(logits);
    if (!sequence.error.ok()) return FinishReason::kError;
  }
  event.token = sequence.sampler.Sample(logits, kernels_, sampler_scratch_);
  if (request.num_logprobs >= 0) {
    event.logprob = sampler_scratch_.original[static_cast<size_t>(event.token)] - log_sum;
  }
  const int32_t token = event.token;
  const bool is_end = model_.tokenizer->IsEndOfGeneration(token);
  if (is_end && (!request.ignore_end_tokens || sequence.constraint != nullptr)) return FinishReason::kStop;
  sequence.generated.push_back(token);
  sequence.sink->Emit(std::move(event));
  if (sequence.constraint != nullptr) {
    if (const std::optional<FinishReason> reason = FollowConstraint(sequence, token)) return reason;
  }
  if (static_cast<int64_t>(sequence.generated.size()) >= sequence.answer_limit) return FinishReason::kLength;
  return std::nullopt;
}

// After a token: what the grammar says without the model.
std::optional<FinishReason> Engine::FollowConstraint(Sequence& sequence, int32_t token) {
  Constraint& constraint = *sequence.constraint;
  sequence.error = constraint.Accept(token);
  if (!sequence.error.ok()) return FinishReason::kError;
  // Whoever wants probabilities wants the model's, of each token.
  if (sequence.request->num_logprobs < 0) {
    const int64_t room = sequence.answer_limit - static_cast<int64_t>(sequence.generated.size());
    for (const int32_t forced : constraint.TakeForced(*model_.tokenizer, room)) {
      sequence.generated.push_back(forced);
      sequence.sampler.Count(forced);
      sequence.sink->Emit(TokenEvent{.token = forced});
    }
  }
  if (constraint.MustEnd()) return FinishReason::kStop;
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
