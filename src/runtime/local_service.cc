#include "runtime/local_service.h"

#include <sys/stat.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/duration.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "device/machine.h"
#include "kernels/kernels.h"
#include "runtime/event_queue.h"
#include "runtime/planning/live_planner.h"
#include "runtime/profile/planner.h"
#include "scheduler/scheduler.h"

namespace lem {
namespace {

int64_t ModificationTime(const std::filesystem::path& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 ? static_cast<int64_t>(info.st_mtime) : 0;
}

}  // namespace

class LocalService::Impl {
 public:
  explicit Impl(LocalServiceOptions options)
      : options_(std::move(options)),
        kernels_(BestKernelTable()),
        pool_(options_.num_threads),
        scheduler_(static_cast<int32_t>(options_.models.size())) {
    for (const ModelSource& source : options_.models) {
      auto slot = std::make_unique<Slot>();
      slot->info.id = source.id;
      slot->info.path = source.path.string();
      slot->info.created_unix_s = ModificationTime(source.path);
      slots_.push_back(std::move(slot));
    }
    planner_ = MakePlanner();
    engine_thread_ = std::thread([this] { EngineLoop(); });
    loader_thread_ = std::thread([this] { LoadAll(); });
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    loader_thread_.join();
    engine_thread_.join();
  }

  Status WaitUntilLoaded() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return NumLoading() == 0; });
    for (const auto& slot : slots_) {
      if (!slot->info.error.ok()) return slot->info.error;
    }
    return OkStatus();
  }

  std::vector<ModelInfo> Models() const {
    const std::lock_guard lock(mutex_);
    std::vector<ModelInfo> models;
    models.reserve(slots_.size());
    for (const auto& slot : slots_) models.push_back(slot->info);
    return models;
  }

  Result<ModelInfo> FindModel(const std::string& id) const {
    const std::lock_guard lock(mutex_);
    LEM_ASSIGN_OR_RETURN(const size_t idx, FindSlot(id));
    return slots_[idx]->info;
  }

  bool Ready() const {
    const std::lock_guard lock(mutex_);
    return std::ranges::all_of(slots_, [](const auto& slot) { return slot->info.state == ModelState::kReady; });
  }

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
    LEM_ASSIGN_OR_RETURN(std::unique_ptr<Constraint> constraint, MakeConstraint(request));
    auto job = std::make_unique<Job>();
    {
      const std::lock_guard lock(mutex_);
      LEM_ASSIGN_OR_RETURN(const size_t idx, Admit(request));
      job->id = next_id_++;
      job->model = static_cast<int32_t>(idx);
    }
    // Planning takes milliseconds and must not hold up others.
    const Engine& engine = *slots_[static_cast<size_t>(job->model)]->engine;
    job->planned = planner_->Plan(job->model, job->id, request, engine.AnswerLimit(request));
    job->request = std::make_shared<const GenerateRequest>(std::move(request));
    job->constraint = std::move(constraint);
    job->queue = std::make_shared<EventQueue>();
    job->cancel = std::make_shared<CancelToken>();
    auto handle = std::make_unique<Handle>(*this, job->queue, job->cancel, job->planned->summary());
    const std::lock_guard lock(mutex_);
    arrived_.push_back(std::move(job));
    ++stats_.requests_total;
    changed_.notify_all();
    return std::unique_ptr<Generation>(std::move(handle));
  }

  ServiceStats Stats() const {
    std::vector<PredictionStats> predictions = planner_->Predictions();
    const std::lock_guard lock(mutex_);
    ServiceStats stats = stats_;
    stats.predictions = std::move(predictions);
    for (const auto& slot : slots_) {
      if (slot->info.state != ModelState::kReady) continue;
      stats.kv_blocks_total += static_cast<uint64_t>(slot->engine->kv_pool().num_blocks());
      const KvBlockPool& pool = slot->engine->kv_pool();
      stats.kv_blocks_used += static_cast<uint64_t>(pool.num_used() - pool.num_idle());
      stats.kv_blocks_cached += static_cast<uint64_t>(pool.num_idle());
    }
    if (memory_ == nullptr) return stats;
    for (const TransferCount& count : memory_->ledger().Counts()) {
      stats.moved_bytes.push_back({count.device_id,
                                   count.direction == TransferDirection::kToDevice ? "to_device" : "to_host",
                                   std::string(TransferCauseName(count.cause)), count.bytes});
    }
    return stats;
  }

  static DeviceInfo InfoOf(const DeviceCaps& caps) {
    DeviceInfo info;
    info.id = caps.id;
    info.kind = DeviceKindName(caps.kind);
    info.name = caps.name;
    info.driver = caps.driver;
    info.emulated = caps.emulated;
    return info;
  }

  std::vector<DeviceInfo> DevicesInUse() const {
    const std::lock_guard lock(mutex_);
    std::vector<DeviceInfo> devices;
    const bool compiling = std::ranges::any_of(
        slots_, [](const auto& slot) { return slot->info.state == ModelState::kReady && slot->engine->compiling(); });
    for (const auto& device : devices_.devices()) {
      DeviceInfo info = InfoOf(device->caps());
      info.in_use = true;
      info.health = device->health();
      info.compiling = compiling && device->caps().compiles_slowly;
      const DeviceTelemetry telemetry = device->telemetry();
      info.submissions = telemetry.submissions;
      info.memory_bytes = telemetry.memory_bytes;
      devices.push_back(std::move(info));
    }
    return devices;
  }

  std::vector<DeviceInfo> Devices() const {
    std::call_once(listed_, [this] { listing_ = ListDevices(kernels_); });
    std::vector<DeviceInfo> devices = DevicesInUse();
    for (const DeviceCaps& caps : listing_.devices) {
      if (std::ranges::find(devices, caps.id, &DeviceInfo::id) == devices.end()) devices.push_back(InfoOf(caps));
    }
    return devices;
  }

  LivePlanner& planner() const { return *planner_; }

  void Drain(Clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    draining_ = true;
    changed_.notify_all();
    const auto idle = [this] { return scheduler_waiting_ == 0 && arrived_.empty() && num_active_ == 0; };
    if (!changed_.wait_until(lock, deadline, idle)) {
      cancel_all_ = true;
      changed_.notify_all();
      changed_.wait(lock, idle);
    }
  }

 private:
  // A model and its engine. `info` is guarded by mutex_; the rest is written by the loader before the state turns
  // kReady and then belongs to the engine's thread.
  struct Slot {
    ModelInfo info;
    std::unique_ptr<Model> model;
    Placement placement;
    std::vector<Placement> others;        // that are worth opening, too
    std::vector<std::string> device_ids;  // worth opening
    std::unique_ptr<Engine> engine;
    std::once_flag has_vocabulary;                        // made by the first request that has a grammar, on its thread
    std::shared_ptr<const GrammarVocabulary> vocabulary;  // shared with matchers
  };
  struct Job {
    SequenceId id = 0;
    int32_t model = 0;
    std::shared_ptr<const GenerateRequest> request;
    std::unique_ptr<Constraint> constraint;  // until it is admitted
    std::shared_ptr<EventQueue> queue;
    std::shared_ptr<CancelToken> cancel;
    std::shared_ptr<PlannedRequest> planned;
    Clock::time_point submitted = Clock::now();
    double queue_ms = 0;
    bool admitted = false;
  };

  // Null if the request has no grammar, or its model is not ready, which Submit finds.
  Result<std::unique_ptr<Constraint>> MakeConstraint(const GenerateRequest& request) {
    if (request.grammar == nullptr) return nullptr;
    Slot* slot = nullptr;
    {
      const std::lock_guard lock(mutex_);
      LEM_ASSIGN_OR_RETURN(const size_t idx, FindSlot(request.model));
      slot = slots_[idx].get();
      if (slot->info.state != ModelState::kReady) return nullptr;
    }
    std::call_once(slot->has_vocabulary,
                   [slot] { slot->vocabulary = GrammarVocabulary::Create(*slot->model->tokenizer); });
    Result<std::unique_ptr<Constraint>> constraint = Constraint::Create(request.grammar, slot->vocabulary);
    if (!constraint.ok()) {
      return InvalidArgument("the form of the answer cannot be kept: {}", constraint.status().message());
    }
    return constraint;
  }

  size_t NumLoading() const {
    return static_cast<size_t>(
        std::ranges::count_if(slots_, [](const auto& slot) { return slot->info.state == ModelState::kLoading; }));
  }

  Result<size_t> FindSlot(const std::string& id) const {
    if (id.empty() && !slots_.empty()) return size_t{0};
    std::vector<std::string> ids;
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i]->info.id == id) return i;
      ids.push_back(slots_[i]->info.id);
    }
    return NotFound("there is no model '{}'; models served here: {}", id, fmt::join(ids, ", "));
  }

  // The model that a request is for, if it can be taken; it counts as waiting then. REQUIRES: mutex_ held.
  Result<size_t> Admit(const GenerateRequest& request) {
    if (draining_) return Unavailable("the server is shutting down and takes no new requests");
    LEM_ASSIGN_OR_RETURN(const size_t idx, FindSlot(request.model));
    const Slot& slot = *slots_[idx];
    if (slot.info.state == ModelState::kLoading)
      return Unavailable("model '{}' is still loading; try again soon", slot.info.id);
    if (slot.info.state == ModelState::kFailed) return slot.info.error;
    LEM_TRY(CheckRequest(request, slot));
    if (scheduler_waiting_ >= options_.max_waiting) {
      return ResourceExhausted("{} requests are waiting already; try again later", scheduler_waiting_);
    }
    ++scheduler_waiting_;
    return idx;
  }

  static Status CheckRequest(const GenerateRequest& request, const Slot& slot) {
    if (request.prompt.empty()) return InvalidArgument("the prompt is empty; at least one token is needed");
    for (size_t i = 0; i < request.prompt.size(); ++i) {
      const int32_t token = request.prompt[i];
      if (token < 0 || token >= slot.model->config.vocab_size) {
        return InvalidArgument("prompt token {} is id {}; allowed: 0 to {}", i, token,
                               slot.model->config.vocab_size - 1);
      }
    }
    const auto prompt_size = static_cast<int64_t>(request.prompt.size());
    const int64_t context = slot.engine->context_length();
    // With max_tokens unset there must be room for one token of answer.
    const int64_t answer = request.max_tokens < 0 ? 1 : request.max_tokens;
    if (prompt_size + answer > context) {
      return InvalidArgument(
          "the prompt has {} tokens and the answer may have {}; together at most {} fit the context of model '{}': "
          "shorten "
          "the prompt or lower max_tokens",
          prompt_size, answer, context, slot.info.id);
    }
    if (request.num_logprobs > 20) return InvalidArgument("logprobs is {}; allowed: 0 to 20", request.num_logprobs);
    return OkStatus();
  }

  // --- loading ---

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

  // The CPU always: it takes over from a device that is lost.
  Status OpenDevices() {
    LEM_ASSIGN_OR_RETURN(std::unique_ptr<MemoryManager> memory, MemoryManager::Create());
    {
      const std::lock_guard lock(mutex_);
      memory_ = std::move(memory);
    }
    const DeviceHost host{pool_, kernels_, *memory_, options_.cache_folder};
    std::vector<std::string> ids = {"cpu"};
    for (const auto& slot : slots_) {
      std::vector<std::string> wanted = slot->placement.DeviceIds();
      wanted.insert(wanted.end(), slot->device_ids.begin(), slot->device_ids.end());
      for (const std::string& id : wanted) {
        if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
      }
    }
    for (const std::string& id : ids) {
      Result<std::unique_ptr<Device>> device = OpenDevice(id, host);
      const bool must =
          !options_.place_by_cost || id == "cpu" || std::ranges::find(options_.devices, id) != options_.devices.end();
      if (!device.ok() && must) return device.status();
      if (!device.ok()) {
        LogWarning("device {} is in the profile of this machine and cannot be used: {}", id, device.status().message());
        continue;
      }
      const std::lock_guard lock(mutex_);
      devices_.Add(std::move(*device));
      if (devices_.space_memory().size() > KvResidency::kMaxSpaces) {
        return InvalidArgument("the placements use {} devices with memories of their own; at most {} can be used",
                               devices_.space_memory().size() - 1, KvResidency::kMaxSpaces - 1);
      }
    }
    return OkStatus();
  }

  void LoadAll() {
    std::vector<Status> opened;
    opened.reserve(slots_.size());
    for (const auto& slot : slots_) opened.push_back(OpenModel(*slot));
    const Status devices = OpenDevices();
    for (size_t i = 0; i < slots_.size(); ++i) {
      Slot* const slot = slots_[i].get();
      {
        const std::lock_guard lock(mutex_);
        if (stopping_) return;
      }
      const Clock::time_point begin = Clock::now();
      Status status = !opened[i].ok() ? opened[i] : !devices.ok() ? devices : Load(*slot);
      const std::lock_guard lock(mutex_);
      if (status.ok()) {
        slot->info.state = ModelState::kReady;
        LogDebug("model {} loaded in {:.0f} ms", slot->info.id, MillisecondsSince(begin));
      } else {
        slot->info.state = ModelState::kFailed;
        slot->info.error = std::move(status).WithContext(fmt::format("model '{}' cannot be loaded", slot->info.id));
      }
      changed_.notify_all();
    }
  }

  // Maps the model, and decides where it will run.
  Status OpenModel(Slot& slot) {
    slot.placement = options_.engine.placement;
    LEM_ASSIGN_OR_RETURN(slot.model, LoadModel(slot.info.path));
    if (!chooses()) return OkStatus();
    LEM_ASSIGN_OR_RETURN(LivePlanner::Proposal proposal, planner_->Propose(*slot.model));
    slot.placement = std::move(proposal.placement);
    slot.others = std::move(proposal.others);
    slot.device_ids = std::move(proposal.device_ids);
    LogInfo("model {} is placed by predicted cost: {} for common requests", slot.info.id,
            FormatPlacement(slot.placement));
    return OkStatus();
  }

  // Answers that can be repeated must not depend on what devices are busy with.
  bool chooses() const { return options_.place_by_cost && !options_.engine.deterministic; }

  Status Load(Slot& slot) {
    EngineOptions options = options_.engine;
    options.placement = slot.placement;
    Result<std::unique_ptr<Engine>> engine = Engine::Create(*slot.model, devices_, *memory_, kernels_, options);
    if (!engine.ok() && chooses()) {
      // Who leaves the choice to us gets an answer.
      LogWarning("model {} cannot be placed as planned, it goes to the CPU: {}", slot.info.id,
                 engine.status().message());
      options.placement = PlacementOnCpu();
      engine = Engine::Create(*slot.model, devices_, *memory_, kernels_, options);
    }
    LEM_TRY(engine.status());
    slot.engine = std::move(*engine);
    const auto idx =
        static_cast<int32_t>(std::ranges::find(slots_, &slot, [](const auto& s) { return s.get(); }) - slots_.begin());
    LEM_TRY(planner_->AddModel(idx, slot.info.id, *slot.model, *slot.engine, devices_,
                               FormatPlacement(options.placement), chooses()));
    for (const Placement& placement : slot.others) {
      const auto is_open = [this](const std::string& id) { return devices_.Find(id).ok(); };
      if (std::ranges::all_of(placement.DeviceIds(), is_open)) slot.engine->routes().Prepare(placement);
    }
    const std::lock_guard lock(mutex_);
    const Model& model = *slot.model;
    slot.info.architecture = model.config.architecture;
    slot.info.quantization = model.quantization;
    slot.info.num_parameters = model.num_parameters;
    slot.info.size_bytes = model.file_bytes;
    slot.info.context_length = static_cast<int32_t>(slot.engine->context_length());
    slot.info.tokenizer = model.tokenizer.get();
    slot.info.chat_template = model.chat_template.get();
    return OkStatus();
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
    while (!jobs_.empty())
      Finish(jobs_.begin()->first, FinishReason::kCancelled, Cancelled("the service has stopped"), {});
  }

  // REQUIRES: mutex_ held.
  void TakeArrivals() {
    for (std::unique_ptr<Job>& job : arrived_) {
      const Engine& engine = *slots_[static_cast<size_t>(job->model)]->engine;
      scheduler_.Enqueue({.id = job->id,
                          .model = job->model,
                          .prompt_tokens = static_cast<int64_t>(job->request->prompt.size()),
                          .max_blocks = engine.BlocksFor(*job->request),
                          .outputs_every_row = job->request->prompt_logprobs});
      const int64_t position = *scheduler_.PositionOf(job->id);
      job->queue->Emit(QueuedEvent{static_cast<int32_t>(position)});
      const SequenceId id = job->id;
      jobs_.emplace(id, std::move(job));
      ++num_active_;
    }
    arrived_.clear();
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
    Engine& engine = *slots_[static_cast<size_t>(job.model)]->engine;
    const Usage usage = job.admitted ? engine.UsageOf(id) : Usage{};
    engine.Remove(id);
    Finish(id, reason, std::move(status), usage);
  }

  // REQUIRES: the engine has forgotten the sequence.
  void Finish(SequenceId id, FinishReason reason, Status status, Usage usage) {
    const auto it = jobs_.find(id);
    const std::unique_ptr<Job> job = std::move(it->second);
    jobs_.erase(it);
    scheduler_.Remove(id);
    usage.queue_ms = job->queue_ms;
    planner_->Finish(job->planned, usage);
    {
      const std::lock_guard lock(mutex_);
      if (!job->admitted) --scheduler_waiting_;
      if (reason == FinishReason::kError) ++stats_.requests_failed;
      if (reason == FinishReason::kCancelled) ++stats_.requests_cancelled;
      stats_.waiting = static_cast<int32_t>(scheduler_.num_waiting());
      stats_.running = static_cast<int32_t>(scheduler_.num_running());
      --num_active_;
      if (usage.joules > 0) stats_.joules_total[std::string(usage.energy_source)] += usage.joules;
    }
    job->queue->Emit(FinishedEvent{reason, std::move(status), usage});
    changed_.notify_all();
  }

  std::vector<ModelCapacity> Capacities() const {
    std::vector<ModelCapacity> capacities(slots_.size());
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i]->info.state != ModelState::kReady) continue;
      const Engine& engine = *slots_[i]->engine;
      capacities[i] = {.free_blocks = engine.kv_pool().num_free() + engine.kv_pool().num_idle(),
                       .max_step_tokens = engine.max_step_tokens(),
                       .max_step_outputs = engine.max_step_outputs(),
                       .max_running = std::min(engine.max_step_tokens(), engine.max_step_outputs())};
    }
    return capacities;
  }

  void StepOnce() {
    const std::vector<ModelCapacity> capacities = Capacities();
    const std::vector<SequenceId> admitted = scheduler_.Admit(capacities);
    for (const SequenceId id : admitted) {
      Job& job = *jobs_.at(id);
      job.admitted = true;
      job.queue_ms = MillisecondsSince(job.submitted);
      Engine& engine = *slots_[static_cast<size_t>(job.model)]->engine;
      const int64_t num_known =
          engine.Add(id, job.request, job.queue, planner_->PlacementOf(*job.planned), std::move(job.constraint));
      scheduler_.Skip(id, num_known);
      LivePlanner::Admitted(*job.planned, num_known);
    }
    {
      const std::lock_guard lock(mutex_);
      scheduler_waiting_ -= static_cast<int64_t>(admitted.size());
      stats_.waiting = static_cast<int32_t>(scheduler_.num_waiting());
      stats_.running = static_cast<int32_t>(scheduler_.num_running());
    }
    const Decision decision = scheduler_.Next(capacities);
    if (decision.model < 0) return;
    Engine& engine = *slots_[static_cast<size_t>(decision.model)]->engine;
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
    Engine::StepOutcome outcome = engine.Step(rows);
    planner_->EndStep(std::move(outcome.runs));
    scheduler_.StepDone(decision.rows);
    if (!engine.placement_status().ok()) {
      const std::lock_guard lock(mutex_);
      slots_[static_cast<size_t>(decision.model)]->info.placement_error = engine.placement_status();
    }
    CountStep(outcome.finished);
    if (!outcome.error.ok()) {
      LogError("a step of model {} failed: {}", slots_[static_cast<size_t>(decision.model)]->info.id,
               outcome.error.message());
    }
    for (const SequenceId id : outcome.failed) Abort(id, FinishReason::kError, outcome.error);
    for (const Engine::FinishedSequence& f : outcome.finished) Finish(f.id, f.reason, f.status, f.usage);
  }

  // What runs and would be better off elsewhere goes there, if that changes no bit of its answer.
  void MoveRequests() {
    for (const LivePlanner::Move& move : planner_->TakeMoves()) {
      const auto job = jobs_.find(move.id);
      if (job == jobs_.end() || !job->second->admitted) continue;
      if (slots_[static_cast<size_t>(move.model)]->engine->MoveTo(move.id, move.placement)) {
        planner_->Moved(*job->second->planned, move);
      }
    }
  }

  void CountStep(const std::vector<Engine::FinishedSequence>& finished) {
    const std::lock_guard lock(mutex_);
    ++stats_.steps_total;
    for (const Engine::FinishedSequence& f : finished) {
      stats_.generated_tokens_total += static_cast<uint64_t>(f.usage.completion_tokens);
      stats_.handovers_total += static_cast<uint64_t>(f.usage.handovers);
      stats_.prompt_tokens_total += static_cast<uint64_t>(f.usage.prompt_tokens);
      stats_.cached_tokens_total += static_cast<uint64_t>(f.usage.cached_tokens);
    }
  }

  const LocalServiceOptions options_;
  const KernelTable& kernels_;
  ThreadPool pool_;
  std::unique_ptr<MemoryManager> memory_;  // made by the loader before any device; guarded by mutex_ until then
  DeviceRegistry devices_;                 // filled by the loader; guarded by mutex_ until then
  std::vector<std::unique_ptr<Slot>> slots_;
  std::unique_ptr<LivePlanner> planner_;  // ends before the engines
  mutable std::once_flag listed_;
  mutable DeviceListing listing_;  // of the whole machine, once it was asked for

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // arrivals, cancels, loads, finished requests, stop
  std::vector<std::unique_ptr<Job>> arrived_;
  SequenceId next_id_ = 1;
  int64_t scheduler_waiting_ = 0;  // submitted and not admitted
  int64_t num_active_ = 0;         // taken by the engine's thread and not finished
  ServiceStats stats_;
  bool stopping_ = false, draining_ = false, cancel_all_ = false;

  // Of the engine's thread alone.
  Scheduler scheduler_;
  std::map<SequenceId, std::unique_ptr<Job>> jobs_;

  std::thread engine_thread_, loader_thread_;
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
Status LocalService::WaitUntilLoaded() { return impl_->WaitUntilLoaded(); }
std::vector<ModelInfo> LocalService::Models() const { return impl_->Models(); }
Result<ModelInfo> LocalService::FindModel(const std::string& id) const { return impl_->FindModel(id); }
bool LocalService::Ready() const { return impl_->Ready(); }
Result<std::unique_ptr<Generation>> LocalService::Submit(GenerateRequest request) {
  return impl_->Submit(std::move(request));
}
ServiceStats LocalService::Stats() const { return impl_->Stats(); }
std::vector<DeviceInfo> LocalService::DevicesInUse() const { return impl_->DevicesInUse(); }
std::vector<DeviceInfo> LocalService::Devices() const { return impl_->Devices(); }
std::vector<PlanInfo> LocalService::Plans() const { return impl_->planner().Plans(); }
std::vector<RouteStatus> LocalService::Routes() const { return impl_->planner().Routes(); }
std::vector<TraceSpan> LocalService::Trace() const { return impl_->planner().Trace(); }
void LocalService::Drain(Clock::time_point deadline) { impl_->Drain(deadline); }

}  // namespace lem
