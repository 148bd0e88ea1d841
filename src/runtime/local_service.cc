#include "runtime/local_service.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <limits>
#include <map>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/duration.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "device/machine.h"
#include "kernels/kernels.h"
#include "runtime/event_queue.h"
#include "runtime/planning/live_planner.h"
#include "runtime/profile/planner.h"

namespace lem {
class LocalService::Impl {
 public:
  explicit Impl(LocalServiceOptions options)
      : options_(std::move(options)),
        kernels_(BestKernelTable()),
        threads_(options_.num_threads),
        planner_(MakePlanner()),
        models_({.models = options_.models,
                 .list_models = options_.list_models,
                 .engine = options_.engine,
                 .place_by_cost = options_.place_by_cost,
                 .devices = options_.devices,
                 .cache_folder = options_.cache_folder,
                 .memory_bytes = options_.memory_bytes,
                 .keep_alive = options_.keep_alive},
                *planner_, threads_),
        scheduler_(static_cast<int32_t>(options_.models.size()), options_.scheduler),
        engines_(options_.models.size()) {
    engine_thread_ = std::thread([this] { EngineLoop(); });
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    engine_thread_.join();
  }

  ModelPool& models() { return models_; }

  // What a caller holds: the queue, and the way to cancel.
  class Handle : public Generation {
   public:
    Handle(Impl& service, std::shared_ptr<EventQueue> queue, std::shared_ptr<CancelToken> cancel, PlanSummary plan)
        : service_(service), queue_(std::move(queue)), cancel_(std::move(cancel)), plan_(std::move(plan)) {}
    ~Handle() override {
      queue_->SetNotify(nullptr);
      Cancel();
    }
    std::optional<Event> Poll() override { return queue_->Poll(); }
    Event Wait() override { return queue_->Wait(); }
    void SetNotify(std::function<void()> notify) override { queue_->SetNotify(std::move(notify)); }
    void Cancel() override {
      if (cancel_->cancelled()) return;
      cancel_->Cancel();
      service_.changed_.notify_all();
    }
    PlanSummary plan() const override { return plan_; }

   private:
    Impl& service_;
    std::shared_ptr<EventQueue> queue_;
    std::shared_ptr<CancelToken> cancel_;
    const PlanSummary plan_;
  };

  Result<std::unique_ptr<Generation>> Submit(GenerateRequest request) {
    LEM_TRY(CheckSamplingParams(request.sampling));
    auto job = std::make_unique<Job>();
    LEM_ASSIGN_OR_RETURN(job->lease, models_.Use(request.model));
    LEM_TRY(CheckRequest(request, job->lease));
    LEM_ASSIGN_OR_RETURN(job->constraint, MakeConstraint(request, job->lease));
    {
      const std::lock_guard lock(mutex_);
      if (draining_) return Unavailable("the server is shutting down and takes no new requests");
      LEM_TRY(CheckLoad(request, job->model()));
      ++num_arriving_;
      ++num_waiting_;
      job->id = next_id_++;
    }
    // Planning takes milliseconds and must not hold up others.
    job->planned = planner_->Plan(job->model(), job->id, request, job->lease.engine().AnswerLimit(request));
    job->request = std::make_shared<const GenerateRequest>(std::move(request));
    job->queue = std::make_shared<EventQueue>();
    job->cancel = std::make_shared<CancelToken>();
    auto handle = std::make_unique<Handle>(*this, job->queue, job->cancel, job->planned->summary());
    const std::lock_guard lock(mutex_);
    --num_arriving_;
    arrived_.push_back(std::move(job));
    ++stats_.requests_total;
    changed_.notify_all();
    return std::unique_ptr<Generation>(std::move(handle));
  }

  ServiceStats Stats() const {
    std::vector<PredictionStats> predictions = planner_->Predictions();
    ServiceStats stats;
    {
      const std::lock_guard lock(mutex_);
      stats = stats_;
    }
    stats.predictions = std::move(predictions);
    models_.ForEachEngine([&](const Engine& engine) {
      const KvBlockPool& pool = engine.kv_pool();
      stats.kv_blocks_total += static_cast<uint64_t>(pool.num_blocks());
      stats.kv_blocks_used += static_cast<uint64_t>(pool.num_used() - pool.num_idle());
      stats.kv_blocks_cached += static_cast<uint64_t>(pool.num_idle());
    });
    for (const TransferCount& count : models_.Transfers()) {
      stats.moved_bytes.push_back({count.device_id,
                                   count.direction == TransferDirection::kToDevice ? "to_device" : "to_host",
                                   std::string(TransferCauseName(count.cause)), count.bytes});
    }
    return stats;
  }

  std::vector<DeviceInfo> Devices() const {
    std::call_once(listed_, [this] { listing_ = ListDevices(kernels_); });
    std::vector<DeviceInfo> devices = models_.DevicesInUse();
    for (const DeviceCaps& caps : listing_.devices) {
      if (std::ranges::find(devices, caps.id, &DeviceInfo::id) == devices.end()) devices.push_back(DeviceInfoOf(caps));
    }
    return devices;
  }

  LivePlanner& planner() const { return *planner_; }

  void Drain(Clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    draining_ = true;
    changed_.notify_all();
    const auto idle = [this] { return num_arriving_ == 0 && arrived_.empty() && num_active_ == 0; };
    if (!changed_.wait_until(lock, deadline, idle)) {
      cancel_all_ = true;
      changed_.notify_all();
      changed_.wait(lock, idle);
    }
  }

 private:
  struct Job {
    SequenceId id = 0;
    ModelPool::Lease lease;
    std::shared_ptr<const GenerateRequest> request;
    std::unique_ptr<Constraint> constraint;  // until it is admitted
    std::shared_ptr<EventQueue> queue;
    std::shared_ptr<CancelToken> cancel;
    std::shared_ptr<PlannedRequest> planned;
    std::vector<uint64_t> prefixes;  // hashes of the prompt's beginnings, block by block
    Clock::time_point submitted = Clock::now();
    double queue_ms = 0;
    bool admitted = false;  // the engine knows it
    bool running = false;   // it has not given way

    int32_t model() const { return lease.index(); }
  };

  // Null if the request has no grammar.
  static Result<std::unique_ptr<Constraint>> MakeConstraint(const GenerateRequest& request,
                                                            const ModelPool::Lease& lease) {
    if (request.grammar == nullptr) return nullptr;
    Result<std::unique_ptr<Constraint>> constraint = Constraint::Create(request.grammar, lease.vocabulary());
    if (!constraint.ok()) {
      return InvalidArgument("the form of the answer cannot be kept: {}", constraint.status().message());
    }
    return constraint;
  }

  // What would come too late is refused now. REQUIRES: mutex_ held.
  Status CheckLoad(const GenerateRequest& request, int32_t model) const {
    const ModelLoad load =
        static_cast<size_t>(model) < loads_.size() ? loads_[static_cast<size_t>(model)] : ModelLoad{};
    const Seconds ttft = EstimateTtft(load, request.priority, static_cast<int64_t>(request.prompt.size()));
    if (num_waiting_ >= options_.max_waiting) {
      return ResourceExhausted("{} requests are waiting already, {} at most may; try again in about {:.0f} s",
                               num_waiting_, options_.max_waiting, std::ceil(ttft))
          .WithRetryAfter(std::max(1.0, ttft));
    }
    if (request.ttft_target_ms > 0 && ttft * 1000 > request.ttft_target_ms) {
      return ResourceExhausted(
                 "the first token is expected after {:.0f} ms ({} requests are waiting, {} are running) and is wished "
                 "for within {:.0f} ms; ask for less, or try again later",
                 ttft * 1000, num_waiting_, load.running, request.ttft_target_ms)
          .WithRetryAfter(std::max(1.0, ttft - request.ttft_target_ms / 1000));
    }
    const Seconds left = SecondsAt(request.deadline) - Now();
    if (left <= 0) return DeadlineExceeded("the request's deadline has passed");
    if (ttft > left) {
      return ResourceExhausted(
                 "the request's time ends in {:.0f} ms and its first token is expected after {:.0f} ms; allow more "
                 "time, or try again later",
                 left * 1000, ttft * 1000)
          .WithRetryAfter(std::max(1.0, ttft));
    }
    return OkStatus();
  }

  // Points in time as the scheduler has them.
  Seconds SecondsAt(Clock::time_point when) const {
    if (when == Clock::time_point::max()) return std::numeric_limits<Seconds>::infinity();
    return std::chrono::duration<Seconds>(when - started_).count();
  }
  Seconds Now() const { return SecondsAt(Clock::now()); }

  static Status CheckRequest(const GenerateRequest& request, const ModelPool::Lease& lease) {
    const int64_t vocab_size = lease.model().config.vocab_size;
    if (request.prompt.empty()) return InvalidArgument("the prompt is empty; at least one token is needed");
    for (size_t i = 0; i < request.prompt.size(); ++i) {
      const int32_t token = request.prompt[i];
      if (token < 0 || token >= vocab_size) {
        return InvalidArgument("prompt token {} is id {}; allowed: 0 to {}", i, token, vocab_size - 1);
      }
    }
    const auto prompt_size = static_cast<int64_t>(request.prompt.size());
    const int64_t context = lease.engine().context_length();
    // With max_tokens unset there must be room for one token of answer.
    const bool has_answer = request.pooling == Pooling::kNone;
    const int64_t answer = !has_answer ? 0 : request.max_tokens < 0 ? 1 : request.max_tokens;
    if (prompt_size + answer > context) {
      return InvalidArgument(
          "the prompt has {} tokens and the answer may have {}; together at most {} fit the context of model '{}': "
          "shorten the prompt or lower max_tokens",
          prompt_size, answer, context, lease.id());
    }
    if (request.num_logprobs > 20) return InvalidArgument("logprobs is {}; allowed: 0 to 20", request.num_logprobs);
    return OkStatus();
  }

  // A profile that cannot be read must not keep anybody from answers.
  std::unique_ptr<LivePlanner> MakePlanner() const {
    const LivePlannerOptions options{
        .goal = options_.goal, .devices = options_.devices, .folder = options_.profiles_folder};
    for (const std::filesystem::path& folder : {options_.profiles_folder, std::filesystem::path()}) {
      const Result<MeasuredMachine> machine = KnownMachine(folder, DeviceClock::kWall);
      Result<std::unique_ptr<LivePlanner>> planner = machine.ok()
                                                         ? LivePlanner::Create(*machine, options)
                                                         : Result<std::unique_ptr<LivePlanner>>(machine.status());
      if (planner.ok()) return std::move(*planner);
      LogWarning("the profile of this machine is left aside, run `lem profile` again: {}", planner.status().message());
    }
    LEM_CHECK(false) << "a guessed machine is always possible";
    return nullptr;
  }

  // --- the engine's thread ---

  void EngineLoop() {
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        TakeArrivals();
        if (jobs_.empty()) {
          changed_.wait(lock, [this] { return stopping_ || !arrived_.empty() || cancel_all_; });
          if (stopping_) break;
          TakeArrivals();
        }
        if (stopping_) break;
      }
      EndCancelledAndLate();
      StepOnce();
    }
    // Owners of what is left must not wait for ever.
    {
      const std::lock_guard lock(mutex_);
      TakeArrivals();
    }
    while (!jobs_.empty())
      Finish(jobs_.begin()->first, FinishReason::kCancelled, Cancelled("the service has stopped"), {});
  }

  // REQUIRES: mutex_ held.
  void TakeArrivals() {
    const Seconds now = Now();
    for (std::unique_ptr<Job>& job : arrived_) {
      const GenerateRequest& request = *job->request;
      const Engine& engine = job->lease.engine();
      if (const auto count = static_cast<size_t>(job->model()) + 1; count > engines_.size()) {
        engines_.resize(count);
        scheduler_.AddModels(static_cast<int32_t>(count));
      }
      scheduler_.Enqueue({.id = job->id,
                          .model = job->model(),
                          .prompt_tokens = static_cast<int64_t>(request.prompt.size()),
                          .max_blocks = engine.BlocksFor(request),
                          .outputs_every_row = request.prompt_logprobs,
                          .priority = request.priority,
                          .tenant = request.tenant,
                          .arrival = SecondsAt(job->submitted),
                          .ttft_target = request.ttft_target_ms / 1000,
                          .tpot_target = request.tpot_target_ms / 1000,
                          .deadline = SecondsAt(request.deadline),
                          .follows = FindLeader(*job, engine)});
      const int64_t position = *scheduler_.PositionOf(job->id, now);
      const Seconds ttft = EstimateTtft(scheduler_.LoadOf(job->model()), request.priority, 0);
      job->queue->Emit(QueuedEvent{static_cast<int32_t>(position), ttft * 1000});
      EngineUse& use = engines_[static_cast<size_t>(job->model())];
      use.engine = &job->lease.engine();
      ++use.num_jobs;
      const SequenceId id = job->id;
      jobs_.emplace(id, std::move(job));
      ++num_active_;
    }
    arrived_.clear();
  }

  static std::vector<uint64_t> HashPrefixes(std::span<const int32_t> prompt) {
    std::vector<uint64_t> hashes;
    uint64_t hash = kHashSeed;
    for (size_t i = 0; i < prompt.size(); ++i) {
      hash = HashWord(hash, static_cast<uint32_t>(prompt[i]));
      if ((i + 1) % kKvBlockTokens == 0) hashes.push_back(hash);
    }
    return hashes;
  }

  // The request whose prompt begins as this one's, longer than what is known already: computing that once is enough.
  // 0 if there is none.
  SequenceId FindLeader(Job& job, const Engine& engine) const {
    constexpr size_t kWorthwhile = 2;  // blocks
    if (!options_.engine.cache_prefixes || job.request->prompt_logprobs) return 0;
    if (job.request->pooling != Pooling::kNone) return 0;  // leaves no keys and values, and takes none
    job.prefixes = HashPrefixes(job.request->prompt);
    SequenceId leader = 0;
    size_t longest = 0;
    for (const auto& [id, other] : jobs_) {
      if (other->model() != job.model() || other->request->cache_salt != job.request->cache_salt) continue;
      if (other->request->priority > job.request->priority) continue;  // nobody waits for the less urgent
      const auto end = std::ranges::mismatch(job.prefixes, other->prefixes).in1;
      const auto common = static_cast<size_t>(end - job.prefixes.begin());
      if (common <= longest) continue;
      longest = common;
      leader = id;
    }
    if (longest < kWorthwhile) return 0;
    const int64_t known = engine.CountKnownTokens(*job.request, planner_->PlacementOf(*job.planned));
    return static_cast<int64_t>(longest) >= known / kKvBlockTokens + static_cast<int64_t>(kWorthwhile) ? leader : 0;
  }

  void EndCancelledAndLate() {
    const Clock::time_point now = Clock::now();
    bool cancel_all = false;
    {
      const std::lock_guard lock(mutex_);
      cancel_all = cancel_all_;
    }
    std::vector<SequenceId> cancelled, late;
    for (const auto& [id, job] : jobs_) {
      if (cancel_all || job->cancel->cancelled()) {
        cancelled.push_back(id);
      } else if (now >= job->request->deadline) {
        late.push_back(id);
      }
    }
    for (const SequenceId id : cancelled) Abort(id, FinishReason::kCancelled, Cancelled("the request was cancelled"));
    for (const SequenceId id : late)
      Abort(id, FinishReason::kError, DeadlineExceeded("the request's deadline has passed"));
  }

  void Abort(SequenceId id, FinishReason reason, Status status) {
    const Job& job = *jobs_.at(id);
    Engine& engine = job.lease.engine();
    const Usage usage = job.admitted ? engine.UsageOf(id) : Usage{};
    engine.Remove(id);
    Finish(id, reason, std::move(status), usage);
  }

  // REQUIRES: the engine has forgotten the sequence.
  void Finish(SequenceId id, FinishReason reason, Status status, Usage usage) {
    const auto it = jobs_.find(id);
    const std::unique_ptr<Job> job = std::move(it->second);
    jobs_.erase(it);
    EngineUse& use = engines_[static_cast<size_t>(job->model())];
    if (--use.num_jobs == 0) use.engine = nullptr;
    scheduler_.Remove(id, Now());
    usage.queue_ms = job->queue_ms;
    planner_->Finish(job->planned, usage);
    {
      const std::lock_guard lock(mutex_);
      if (reason == FinishReason::kError) ++stats_.requests_failed;
      if (reason == FinishReason::kCancelled) ++stats_.requests_cancelled;
      --num_active_;
      CountJobs();
      if (usage.joules > 0) stats_.joules_total[std::string(usage.energy_source)] += usage.joules;
    }
    job->queue->Emit(FinishedEvent{reason, std::move(status), usage});
    changed_.notify_all();
  }

  std::vector<ModelCapacity> Capacities() const {
    std::vector<ModelCapacity> capacities(engines_.size());
    for (size_t i = 0; i < engines_.size(); ++i) {
      if (engines_[i].engine == nullptr) continue;
      const Engine& engine = *engines_[i].engine;
      capacities[i] = {.free_blocks = engine.kv_pool().num_free() + engine.kv_pool().num_idle(),
                       .block_tokens = kKvBlockTokens,
                       .max_step_tokens = engine.max_step_tokens(),
                       .max_step_outputs = engine.max_step_outputs(),
                       .max_running = std::min(engine.max_step_tokens(), engine.max_step_outputs())};
    }
    return capacities;
  }

  void Start(SequenceId id) {
    Job& job = *jobs_.at(id);
    Engine& engine = job.lease.engine();
    int64_t num_known = 0;
    if (job.admitted) {
      num_known = engine.Resume(id);
    } else {
      job.queue_ms = MillisecondsSince(job.submitted);
      num_known =
          engine.Add(id, job.request, job.queue, planner_->PlacementOf(*job.planned), std::move(job.constraint));
      LivePlanner::Admitted(*job.planned, num_known);
    }
    job.admitted = job.running = true;
    scheduler_.Skip(id, num_known);
  }

  void GiveWay(SequenceId id) {
    Job& job = *jobs_.at(id);
    scheduler_.Requeue(id, job.lease.engine().Interrupt(id));
    job.running = false;
    const std::lock_guard lock(mutex_);
    ++stats_.interrupted_total;
  }

  Decision Decide() {
    for (;;) {
      const Admission admission = scheduler_.Admit(Capacities(), Now());
      for (const SequenceId id : admission.admitted) Start(id);
      if (!admission.give_way) break;
      GiveWay(*admission.give_way);
    }
    Decision decision = scheduler_.Next(Capacities(), Now());
    while (decision.give_way) {
      GiveWay(*decision.give_way);
      decision = scheduler_.Next(Capacities(), Now());
    }
    const std::lock_guard lock(mutex_);
    CountJobs();
    return decision;
  }

  // REQUIRES: mutex_ held.
  void CountJobs() {
    num_waiting_ = scheduler_.num_waiting() + static_cast<int64_t>(arrived_.size()) + num_arriving_;
    stats_.waiting = static_cast<int32_t>(scheduler_.num_waiting());
    stats_.running = static_cast<int32_t>(scheduler_.num_running());
    loads_.resize(engines_.size());
    for (size_t i = 0; i < loads_.size(); ++i) loads_[i] = scheduler_.LoadOf(static_cast<int32_t>(i));
  }

  void StepOnce() {
    const Decision decision = Decide();
    if (decision.model < 0) return;
    Engine& engine = *engines_[static_cast<size_t>(decision.model)].engine;
    MoveRequests();
    std::vector<EngineRows> rows;
    rows.reserve(decision.rows.size());
    int64_t num_tokens = 0;
    std::vector<std::shared_ptr<PlannedRequest>> planned;
    for (const StepRows& row : decision.rows) {
      rows.push_back({row.id, row.num_tokens});
      num_tokens += row.num_tokens;
      planned.push_back(jobs_.at(row.id)->planned);
    }
    planner_->BeginStep(decision.model, num_tokens, std::move(planned));
    const Seconds begin = Now();
    Engine::StepOutcome outcome = engine.Step(rows);
    planner_->EndStep(std::move(outcome.runs));
    std::vector<StepRows> progress;
    progress.reserve(outcome.progress.size());
    for (const EngineRows& row : outcome.progress) progress.push_back({row.id, row.num_tokens});
    scheduler_.StepDone(decision.model, progress, Now() - begin);
    if (!engine.placement_status().ok()) models_.SetPlacementError(decision.model, engine.placement_status());
    CountStep(outcome.finished);
    if (!outcome.error.ok()) {
      LogError("a step of model {} failed: {}", options_.models[static_cast<size_t>(decision.model)].id,
               outcome.error.message());
    }
    for (const SequenceId id : outcome.failed) Abort(id, FinishReason::kError, outcome.error);
    for (const Engine::FinishedSequence& f : outcome.finished) Finish(f.id, f.reason, f.status, f.usage);
  }

  // What runs and would be better off elsewhere goes there, if that changes no bit of its answer.
  void MoveRequests() {
    for (const LivePlanner::Move& move : planner_->TakeMoves()) {
      const auto job = jobs_.find(move.id);
      if (job == jobs_.end() || !job->second->running) continue;
      if (job->second->lease.engine().MoveTo(move.id, move.placement)) {
        planner_->Moved(*job->second->planned, move);
      }
    }
  }

  void CountStep(const std::vector<Engine::FinishedSequence>& finished) {
    const std::lock_guard lock(mutex_);
    ++stats_.steps_total;
    for (const Engine::FinishedSequence& f : finished) {
      stats_.generated_tokens_total += static_cast<uint64_t>(f.usage.completion_tokens);
      stats_.guessed_tokens_total += static_cast<uint64_t>(f.usage.guessed_tokens);
      stats_.handovers_total += static_cast<uint64_t>(f.usage.handovers);
      stats_.prompt_tokens_total += static_cast<uint64_t>(f.usage.prompt_tokens);
      stats_.cached_tokens_total += static_cast<uint64_t>(f.usage.cached_tokens);
    }
  }

  const LocalServiceOptions options_;
  const KernelTable& kernels_;
  ThreadPool threads_;
  std::unique_ptr<LivePlanner> planner_;
  ModelPool models_;  // ends before the planner, which works with its engines
  mutable std::once_flag listed_;
  mutable DeviceListing listing_;  // of the whole machine, once it was asked for

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // arrivals, cancels, finished requests, stop
  std::vector<std::unique_ptr<Job>> arrived_;
  SequenceId next_id_ = 1;
  int64_t num_arriving_ = 0;      // being submitted
  int64_t num_waiting_ = 0;       // submitted and not running
  std::vector<ModelLoad> loads_;  // by model, as far as requests have come
  int64_t num_active_ = 0;        // taken by the engine's thread and not finished
  ServiceStats stats_;
  bool stopping_ = false, draining_ = false, cancel_all_ = false;

  const Clock::time_point started_ = Clock::now();
  // Of the engine's thread alone.
  Scheduler scheduler_;
  // Engines with jobs, which hold leases; by model.
  struct EngineUse {
    Engine* engine = nullptr;
    int64_t num_jobs = 0;
  };
  std::vector<EngineUse> engines_;
  std::map<SequenceId, std::unique_ptr<Job>> jobs_;

  std::thread engine_thread_;
};

Status SetPlacement(const PlacementChoice& choice, LocalServiceOptions& options) {
  options.profiles_folder = ProfilesFolder();
  options.place_by_cost = choice.placement == "auto";
  LEM_ASSIGN_OR_RETURN(options.goal, ParseGoal(choice.objective));
  options.devices = choice.devices;
  if (options.place_by_cost) return OkStatus();
  if (!choice.devices.empty()) {
    return InvalidArgument(
        "devices are given ({}) and so is a placement (\"{}\"), which names its own; leave one of them out",
        fmt::join(choice.devices, ", "), choice.placement);
  }
  LEM_ASSIGN_OR_RETURN(options.engine.placement, ParsePlacement(choice.placement));
  return OkStatus();
}

LocalService::LocalService(LocalServiceOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
LocalService::~LocalService() = default;
Status LocalService::WaitUntilLoaded() { return impl_->models().WaitForStart(); }
std::vector<ModelInfo> LocalService::Models() const { return impl_->models().Infos(); }
void LocalService::RefreshModels() { impl_->models().Refresh(); }
Result<ModelInfo> LocalService::FindModel(const std::string& id) const { return impl_->models().Find(id); }
bool LocalService::Ready() const { return impl_->models().AllReady(); }
Status LocalService::EnsureLoaded(const std::string& id, Clock::time_point deadline) {
  return impl_->models().EnsureLoaded(id, deadline);
}
Status LocalService::Unload(const std::string& id) { return impl_->models().Unload(id); }
Status LocalService::SetKeepAlive(const std::string& id, std::chrono::seconds keep_alive) {
  return impl_->models().SetKeepAlive(id, keep_alive);
}
Result<std::unique_ptr<Generation>> LocalService::Submit(GenerateRequest request) {
  return impl_->Submit(std::move(request));
}
ServiceStats LocalService::Stats() const { return impl_->Stats(); }
std::vector<DeviceInfo> LocalService::DevicesInUse() const { return impl_->models().DevicesInUse(); }
std::vector<DeviceInfo> LocalService::Devices() const { return impl_->Devices(); }
std::vector<PlanInfo> LocalService::Plans() const { return impl_->planner().Plans(); }
std::vector<RouteStatus> LocalService::Routes() const { return impl_->planner().Routes(); }
std::vector<TraceSpan> LocalService::Trace() const { return impl_->planner().Trace(); }
void LocalService::Drain(Clock::time_point deadline) { impl_->Drain(deadline); }

}  // namespace lem
