#include "runtime/planning/live_planner.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/duration.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"
#include "runtime/profile/planner.h"

namespace lem {
namespace {

using TimePoint = StepTiming::TimePoint;

constexpr RequestShape kCommonRequest{.prompt_tokens = 512, .max_tokens = 256};
constexpr int64_t kPromptGrid[] = {32, 512, 4096};
constexpr int64_t kAnswerGrid[] = {16, 256};
// Devices that take so many times longer are not worth opening.
constexpr double kContender = 3;
constexpr size_t kMaxOthers = 6;   // that are opened at load, beside the one for common requests
constexpr size_t kMaxRoutes = 12;  // of a model
constexpr size_t kMaxNotes = 4096, kMaxEnded = 128;
// Answers are mostly shorter than their limits: longer ones are taken for what answers were, or for this.
constexpr int64_t kUsualAnswer = 256;
constexpr auto kDrainInterval = std::chrono::milliseconds(50), kLookInterval = std::chrono::milliseconds(200);
constexpr auto kSaveInterval = std::chrono::minutes(1);
// In which a device that was not seen is taken half for what it usually is.
constexpr double kRelaxSeconds = 30;
constexpr double kChange = 0.14;  // of the logarithm of a device's factor: plans are looked over
constexpr double kStuck = 3;      // times the prediction: a step that is not over tells by that, too
constexpr double kStuckMs = 30;

std::string FingerprintOf(const MeasuredMachine& machine) {
  Sha256 hash;
  const std::string text = WriteMachine(machine);
  hash.Update(std::as_bytes(std::span(text)));
  return hash.FinishHex();
}

double PredictWhole(const CostModel& costs, const ModelWork& work, const std::vector<PlannedSegment>& segments,
                    const StepLoad& load) {
  double ms = 0;
  for (const double segment : PredictSegments(costs, work, segments, load)) ms += segment;
  return ms;
}

PlannedPhase DescribePhase(const CostModel& costs, const PhasePlan& plan, double steps) {
  return {.devices = KindsOf(costs, plan), .predicted_ms = plan.ms / steps, .moved_bytes = plan.moved_bytes};
}

}  // namespace

Result<std::unique_ptr<LivePlanner>> LivePlanner::Create(const MeasuredMachine& machine, LivePlannerOptions options) {
  LEM_ASSIGN_OR_RETURN(CostModel costs, machine.MakeCostModel());
  const std::string fingerprint = machine.profile.source == "priors" ? "" : FingerprintOf(machine);
  return std::unique_ptr<LivePlanner>(new LivePlanner(std::move(costs), fingerprint, std::move(options)));
}

LivePlanner::LivePlanner(CostModel costs, std::string fingerprint, LivePlannerOptions options)
    : options_(std::move(options)),
      fingerprint_(std::move(fingerprint)),
      energy_(costs),
      costs_(std::move(costs)),
      watches_(static_cast<size_t>(costs_.num_devices())) {
  LoadCorrections();
  thread_ = std::thread([this] { Work(); });
}

LivePlanner::~LivePlanner() {
  {
    const std::lock_guard lock(notes_mutex_);
    stopping_ = true;
  }
  noted_.notify_all();
  thread_.join();
  const std::lock_guard lock(mutex_);
  Drain();
  SaveCorrections();
}

// --- what was learned, on disk ---

std::filesystem::path LivePlanner::CorrectionsPath() const {
  return options_.folder / fmt::format("corrections-{}.json", fingerprint_.substr(0, 16));
}

void LivePlanner::LoadCorrections() {
  if (options_.folder.empty() || fingerprint_.empty()) return;
  constexpr size_t kMaxBytes = 4 << 20;
  const Result<std::string> json = ReadFile(CorrectionsPath(), kMaxBytes);
  if (!json.ok()) return;
  const Status read = costs_.corrections().ReadJson(*json);
  if (!read.ok()) LogWarning("{} is left aside: {}", CorrectionsPath().string(), read.message());
}

void LivePlanner::SaveCorrections() {
  const int64_t count = costs_.corrections().num_observations();
  if (options_.folder.empty() || fingerprint_.empty() || count == num_saved_) return;
  const Status saved = WriteFileAtomic(CorrectionsPath(), costs_.corrections().ToJson());
  if (!saved.ok()) LogWarning("what was learned of the devices is not kept: {}", saved.message());
  num_saved_ = count;
}

// --- while models load ---

Result<LivePlanner::Proposal> LivePlanner::Propose(const Model& model) const {
  LEM_ASSIGN_OR_RETURN(const ModelWork work, WorkOfModel(model));
  const std::lock_guard lock(mutex_);
  CostModel costs = costs_;
  for (const std::string& id : options_.devices) {
    if (costs.machine().Find(id) >= 0) continue;
    std::vector<std::string> known;
    for (const DeviceProfile& device : costs.machine().devices) known.push_back(device.id);
    return NotFound(
        "device '{}' is not in the profile of this machine, which has {}; `lem doctor` lists the devices there are, "
        "and `lem profile` measures them",
        id, fmt::join(known, ", "));
  }
  MachineState state;
  state.devices.resize(static_cast<size_t>(costs.num_devices()));
  for (int i = 0; i < costs.num_devices(); ++i) state.devices[static_cast<size_t>(i)].available = MayUse(i);
  costs.SetState(std::move(state));
  Proposal proposal;
  std::set<std::string> ids, known;
  const SearchOptions options{.goal = options_.goal};
  LEM_ASSIGN_OR_RETURN(const PlanDecision common, SearchPlacement(costs, work, kCommonRequest, options));
  proposal.placement = common.best.placement;
  known.insert(FormatPlacement(proposal.placement));
  const auto consider = [&](const RequestPlan& plan) {
    if (proposal.others.size() >= kMaxOthers) return;
    if (known.insert(FormatPlacement(plan.placement)).second) proposal.others.push_back(plan.placement);
  };
  for (const int64_t prompt : kPromptGrid) {
    for (const int64_t answer : kAnswerGrid) {
      const RequestShape shape{.prompt_tokens = prompt, .max_tokens = answer};
      LEM_ASSIGN_OR_RETURN(const PlanDecision decision, SearchPlacement(costs, work, shape, options));
      // Where work can flee to when the best is busy or lost.
      for (const Alternative& alternative : decision.alternatives) {
        const std::vector<std::string> alone = alternative.plan.placement.DeviceIds();
        if (alone.size() != 1) continue;
        if (!options_.devices.empty() || alternative.plan.score < kContender * decision.best.score) {
          consider(alternative.plan);
        }
      }
      consider(decision.best);
    }
  }
  for (const std::string& id : proposal.placement.DeviceIds()) ids.insert(id);
  for (const Placement& placement : proposal.others) {
    for (const std::string& id : placement.DeviceIds()) ids.insert(id);
  }
  ids.insert(options_.devices.begin(), options_.devices.end());
  proposal.device_ids.assign(ids.begin(), ids.end());
  return proposal;
}

Status LivePlanner::AddModel(int32_t model, const std::string& id, const Model& loaded, Engine& engine,
                             const DeviceRegistry& devices, const std::string& wanted_placement, bool chooses) {
  LEM_ASSIGN_OR_RETURN(ModelWork work, WorkOfModel(loaded));
  const std::lock_guard lock(mutex_);
  ModelEntry& entry = models_[model];
  entry.id = id;
  entry.engine = &engine;
  entry.work = std::move(work);
  entry.chooses = chooses;
  entry.wanted_placement = wanted_placement;
  for (const auto& device : devices.devices()) {
    const int idx = costs_.machine().Find(device->caps().id);
    if (idx >= 0) watches_[static_cast<size_t>(idx)].device = device.get();
  }
  return OkStatus();
}

void LivePlanner::RemoveModel(int32_t model) {
  const std::lock_guard lock(mutex_);
  Drain();
  std::erase_if(moves_, [&](const Move& move) { return move.model == model; });
  models_.erase(model);
  if (!models_.empty()) return;
  for (DeviceWatch& watch : watches_) watch.device = nullptr;  // they go with their last engine
}

// --- planning ---

void LivePlanner::ClearState() { costs_.SetState({}); }

bool LivePlanner::MayUse(int device) const {
  return options_.devices.empty() ||
         std::ranges::find(options_.devices, costs_.device(device).id) != options_.devices.end();
}

// The step under way, if it takes much longer than predicted and one device alone is at work.
std::optional<LivePlanner::Overdue> LivePlanner::FindOverdue() {
  InFlight in_flight;
  {
    const std::lock_guard lock(notes_mutex_);
    if (!in_flight_.active || in_flight_.rows <= 0) return std::nullopt;
    in_flight = in_flight_;
  }
  const auto found = models_.find(in_flight.model);
  if (found == models_.end()) return std::nullopt;
  ModelEntry& entry = found->second;
  int device = -1;
  double predicted = 0;
  for (const auto& request : in_flight.requests) {
    const auto* segments = SegmentsOfPlacement(entry, request->info_.placement);
    if (segments == nullptr) return std::nullopt;
    const auto computed = static_cast<double>(request->num_computed_.load());
    const bool in_prompt = computed < static_cast<double>(request->shape_.prompt_tokens);
    const std::vector<PlannedSegment>& own = (*segments)[in_prompt ? 0 : 1];
    for (const PlannedSegment& segment : own) {
      if (device < 0) device = segment.device;
      if (segment.device < 0 || segment.device != device) return std::nullopt;
    }
    if (predicted > 0) continue;
    const StepShape shape{in_prompt ? Phase::kPrefill : Phase::kDecode, static_cast<double>(in_flight.rows),
                          static_cast<double>(in_flight.requests.size()), computed};
    predicted = PredictWhole(costs_, entry.work, own, {shape, shape.sequences});
  }
  const double elapsed = MillisecondsSince(in_flight.since);
  if (predicted <= 0 || elapsed <= std::max(kStuck * predicted, kStuckMs)) return std::nullopt;
  return Overdue{device, elapsed / predicted};
}

// What the devices are busy with, besides one request.
void LivePlanner::SetPlanningState(const ModelEntry& entry, const PlannedRequest* besides) {
  ClearState();
  const TimePoint now = std::chrono::steady_clock::now();
  MachineState state;
  state.devices.resize(watches_.size());
  std::vector<int> decoding(watches_.size());
  for (size_t i = 0; i < watches_.size(); ++i) {
    const DeviceWatch& watch = watches_[i];
    state.devices[i].available = watch.device != nullptr && watch.device->health().ok() && MayUse(static_cast<int>(i));
    const double idle_s = MillisecondsBetween(watch.last_seen, now) * 1e-3;
    costs_.corrections().Relax(static_cast<int>(i), 1 - std::exp(-idle_s / kRelaxSeconds));
  }
  if (const std::optional<Overdue> overdue = FindOverdue()) {
    state.devices[static_cast<size_t>(overdue->device)].slowdown = overdue->factor;
  }
  for (const auto& request : live_) {
    if (request.get() == besides || !request->plan_) continue;
    const auto prompt = static_cast<double>(request->shape_.prompt_tokens);
    const double left = std::max(0.0, 1 - static_cast<double>(request->num_computed_.load()) / prompt);
    for (const DeviceShare& share : request->plan_->prefill.shares) {
      state.devices[static_cast<size_t>(share.device)].queue_ms += left * share.busy_ms;
    }
    for (const DeviceShare& share : request->plan_->decode.shares) ++decoding[static_cast<size_t>(share.device)];
  }
  // Answers on one device share its steps: each is slower by what a step with one more row takes longer.
  const std::vector<int32_t> parts = entry.work.AllParts();
  for (size_t i = 0; i < watches_.size(); ++i) {
    if (decoding[i] == 0) continue;
    const auto step_ms = [&](double rows) {
      return PredictPartsMs(costs_, static_cast<int>(i), entry.work, parts, {Phase::kDecode, rows, rows, 256}, rows);
    };
    const double alone = step_ms(1);
    if (alone > 0) state.devices[i].slowdown *= std::max(1.0, step_ms(decoding[i] + 1) / alone);
  }
  costs_.SetState(std::move(state));
}

const std::array<std::vector<PlannedSegment>, 2>* LivePlanner::SegmentsOfPlacement(ModelEntry& entry,
                                                                                   const std::string& placement) {
  const auto known = entry.segments.find(placement);
  if (known != entry.segments.end()) return &known->second;
  const std::shared_ptr<Route> route = entry.engine->routes().Find(placement);
  if (route == nullptr) return nullptr;
  std::array<std::vector<PlannedSegment>, 2> segments;
  for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
    segments[static_cast<size_t>(phase)] = SegmentsOf(route->placed(), phase, entry.work, costs_.machine());
  }
  return &entry.segments.emplace(placement, std::move(segments)).first->second;
}

// Of a placement that is open: what its steps should take, one after the other.
void LivePlanner::DescribeByRoute(ModelEntry& entry, PlannedRequest& request) {
  PlanInfo& info = request.info_;
  const auto* segments = SegmentsOfPlacement(entry, info.placement);
  if (segments == nullptr) return;
  const auto devices_of = [&](const std::vector<PlannedSegment>& list) {
    std::vector<std::string> kinds;
    for (const PlannedSegment& segment : list) {
      if (segment.device < 0) return std::string();
      const std::string& kind = costs_.device(segment.device).kind;
      if (std::ranges::find(kinds, kind) == kinds.end()) kinds.push_back(kind);
    }
    return fmt::format("{}", fmt::join(kinds, "+"));
  };
  info.prefill.devices = devices_of((*segments)[0]);
  info.decode.devices = devices_of((*segments)[1]);
  if (info.prefill.devices.empty() || info.decode.devices.empty()) return;
  const int64_t chunk = entry.engine->max_step_tokens();
  const int64_t prompt = request.shape_.prompt_tokens;
  for (int64_t done = 0; done < prompt; done += chunk) {
    const auto rows = static_cast<double>(std::min(chunk, prompt - done));
    const StepShape shape{Phase::kPrefill, rows, 1, static_cast<double>(done) + rows / 2};
    info.prefill.predicted_ms +=
        PredictWhole(costs_, entry.work, (*segments)[0], {shape, done + chunk >= prompt ? 1.0 : 0.0});
  }
  const auto middle = static_cast<double>(prompt) + static_cast<double>(request.shape_.max_tokens) / 2;
  info.decode.predicted_ms = PredictWhole(costs_, entry.work, (*segments)[1], {{Phase::kDecode, 1, 1, middle}, 1});
}

std::vector<LivePlanner::RankedPlan> LivePlanner::Rank(const PlanDecision& decision, const RouteTable& routes) {
  std::vector<RankedPlan> ranked;
  ranked.reserve(decision.alternatives.size() + 1);
  const auto add = [&](const RequestPlan& plan, std::string_view lost_because) {
    std::string name = FormatPlacement(plan.placement);
    const bool is_open = routes.Find(name) != nullptr;
    ranked.push_back({&plan, std::move(name), is_open, lost_because});
  };
  add(decision.best, "");
  for (const Alternative& alternative : decision.alternatives) add(alternative.plan, alternative.lost_because);
  std::ranges::sort(ranked, {}, [](const RankedPlan& each) { return each.plan->score; });
  return ranked;
}

SearchOptions LivePlanner::SearchFor(const ModelEntry& entry) const {
  return {.goal = options_.goal, .chunks = {entry.engine->max_step_tokens()}};
}

// The best way that is open; a better one that is not is begun to be opened.
void LivePlanner::Choose(ModelEntry& entry, PlannedRequest& request) {
  const TimePoint begin = std::chrono::steady_clock::now();
  const Result<PlanDecision> decision = SearchPlacement(costs_, entry.work, request.shape_, SearchFor(entry));
  request.info_.solve_ms = MillisecondsSince(begin);
  if (!decision.ok()) return;  // as the engine is placed
  RouteTable& routes = entry.engine->routes();
  const std::vector<RankedPlan> plans = Rank(*decision, routes);
  const RankedPlan* chosen = nullptr;
  const RankedPlan* usual = nullptr;  // what the last request of about this shape had
  std::string& usual_name = entry.usual[{RowBucketOf(static_cast<double>(request.shape_.prompt_tokens)),
                                         RowBucketOf(static_cast<double>(request.shape_.max_tokens))}];
  for (const RankedPlan& plan : plans) {
    if (!plan.is_open) continue;
    if (chosen == nullptr) chosen = &plan;
    if (plan.name == usual_name) usual = &plan;
  }
  if (chosen == nullptr) return;
  if (usual != nullptr && !WorthSwitching(*usual->plan, *chosen->plan, 0, 1)) chosen = usual;
  usual_name = chosen->name;
  PlanInfo& info = request.info_;
  info.placement = chosen->name;
  if (WorthSwitching(*chosen->plan, decision->best, 0, 1)) {
    const std::string name = FormatPlacement(decision->best.placement);
    const std::optional<RouteInfo> known = routes.Info(name);
    if (!known && routes.List().size() < kMaxRoutes) routes.Prepare(decision->best.placement);
    if (!known || known->state == RouteState::kOpening) info.being_opened = name;
  }
  request.plan_ = *chosen->plan;
  info.prefill = DescribePhase(costs_, chosen->plan->prefill, 1);
  info.decode = DescribePhase(costs_, chosen->plan->decode,
                              static_cast<double>(std::max<int64_t>(chosen->plan->decode.steps, 1)));
  if (costs_.power().known) info.predicted_joules = chosen->plan->joules();
  for (const RankedPlan& other : plans) {
    if (&other == chosen) continue;
    std::string why(other.lost_because);
    if (why.empty()) why = other.is_open ? "the gain is less than predictions can tell" : "it is not open yet";
    info.alternatives.push_back({other.name, other.plan->ms(), std::move(why)});
  }
}

// How the engine places what it is not told a way for: as it should or, while that is being opened or a device of it is
// lost, as the latest of the others.
std::string LivePlanner::PlacementOfEngine(const ModelEntry& entry) {
  std::string placement;
  for (const RouteInfo& route : entry.engine->routes().List()) {
    if (route.state != RouteState::kReady) continue;
    placement = route.placement;
    if (placement == entry.wanted_placement) break;
  }
  return placement;
}

std::shared_ptr<PlannedRequest> LivePlanner::Plan(int32_t model, SequenceId id, const GenerateRequest& request,
                                                  int64_t answer_limit) {
  auto planned = std::make_shared<PlannedRequest>();
  const std::lock_guard lock(mutex_);
  Drain();
  ModelEntry& entry = models_.at(model);
  planned->id_ = id;
  planned->model_ = model;
  const auto usual = entry.mean_answer > 0 ? std::llround(std::ceil(entry.mean_answer)) : kUsualAnswer;
  planned->shape_ = {.prompt_tokens = static_cast<int64_t>(request.prompt.size()),
                     .max_tokens = std::max<int64_t>(1, answer_limit <= 4 * kUsualAnswer ? answer_limit : usual)};
  PlanInfo& info = planned->info_;
  info.id = next_id_++;
  info.request_id = request.id;
  info.model = entry.id;
  info.state = "waiting";
  info.goal = GoalName(options_.goal);
  info.prompt_tokens = planned->shape_.prompt_tokens;
  info.max_tokens = answer_limit;
  info.placement = PlacementOfEngine(entry);
  info.chosen_by = entry.chooses ? "cost" : "user";
  if (entry.chooses && request.pooling == Pooling::kNone) {
    SetPlanningState(entry, nullptr);
    Choose(entry, *planned);
  }
  ClearState();
  if (!planned->plan_) DescribeByRoute(entry, *planned);
  planned->summary_ = {info.id,
                       info.placement,
                       info.prefill.devices,
                       info.decode.devices,
                       info.prefill.predicted_ms,
                       info.decode.predicted_ms};
  live_.push_back(planned);
  return planned;
}

std::string LivePlanner::PlacementOf(const PlannedRequest& request) const {
  const std::lock_guard lock(mutex_);
  return request.plan_ ? request.info_.placement : "";
}

// --- the engine's thread ---

void LivePlanner::BeginStep(int32_t model, int64_t rows, std::vector<std::shared_ptr<PlannedRequest>> requests) {
  const std::lock_guard lock(notes_mutex_);
  in_flight_ = {true, model, rows, std::chrono::steady_clock::now(), std::move(requests)};
}

void LivePlanner::EndStep(std::vector<Engine::BatchRun> runs) {
  const std::lock_guard lock(notes_mutex_);
  in_flight_.active = false;
  for (Engine::BatchRun& run : runs) {
    const auto [joules, source] = energy_.OfStep(run);
    double num_rows = 0;
    for (const EngineRows& row : run.rows) num_rows += static_cast<double>(row.num_tokens);
    for (const EngineRows& row : run.rows) {
      const auto found = std::ranges::find(in_flight_.requests, row.id, [](const auto& r) { return r->id_; });
      if (found == in_flight_.requests.end()) continue;
      PlannedRequest& request = **found;
      request.num_computed_ += row.num_tokens;
      request.energy_.Add(joules * static_cast<double>(row.num_tokens) / num_rows, source);
    }
    if (notes_.size() >= kMaxNotes) notes_.pop_front();
    notes_.emplace_back(Noted{in_flight_.model, std::move(run)});
  }
  in_flight_.requests.clear();
  if (!notes_.empty()) noted_.notify_one();
}

void LivePlanner::Finish(const std::shared_ptr<PlannedRequest>& request, Usage& usage) {
  const Energy& energy = request->energy_;
  const PowerSource source = energy.source.value_or(PowerSource::kUnavailable);
  usage.energy_source = PowerSourceName(source);
  usage.joules = source == PowerSource::kUnavailable ? 0 : energy.joules;
  const std::lock_guard lock(notes_mutex_);
  notes_.emplace_back(Ended{request, usage});
  noted_.notify_one();
}

std::vector<LivePlanner::Move> LivePlanner::TakeMoves() {
  if (!has_moves_.exchange(false)) return {};
  const std::lock_guard lock(mutex_);
  return std::exchange(moves_, {});
}

void LivePlanner::Moved(PlannedRequest& request, const Move& move) {
  const std::lock_guard lock(mutex_);
  PlanInfo& info = request.info_;
  if (info.placement == move.placement) return;
  info.placement = move.placement;
  request.plan_ = move.plan;
  ++info.moves;
}

// --- what steps took ---

void LivePlanner::Drain() {
  std::deque<std::variant<Noted, Ended>> notes;
  {
    const std::lock_guard lock(notes_mutex_);
    notes.swap(notes_);
  }
  if (!notes.empty()) ClearState();
  for (const auto& note : notes) {
    if (const auto* noted = std::get_if<Noted>(&note)) {
      Evaluate(*noted);
    } else {
      Record(std::get<Ended>(note));
    }
  }
}

void LivePlanner::Evaluate(const Noted& noted) {
  ModelEntry& entry = models_.at(noted.model);
  const Engine::BatchRun& run = noted.run;
  const PlacedModel& placed = run.route->placed();
  const auto* known = SegmentsOfPlacement(entry, FormatPlacement(placed.placement()));
  if (known == nullptr) return;  // a device of it was lost meanwhile
  const std::vector<PlannedSegment>& segments = (*known)[static_cast<size_t>(run.phase)];
  const StepLoad load = LoadOf(run);
  const std::vector<double> predicted = PredictSegments(costs_, entry.work, segments, load);
  records_.Add(entry.id, run, load, predicted);
  for (size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].device >= 0) watches_[static_cast<size_t>(segments[i].device)].last_seen = run.timings[i].end;
  }
  ObserveRun(costs_, entry.work, segments, load, run.timings);
}

void LivePlanner::Record(const Ended& ended) {
  std::erase(live_, ended.request);
  PlanInfo info = ended.request->info_;
  const Usage& usage = ended.usage;
  info.state = "finished";
  info.generated_tokens = usage.completion_tokens;
  info.prefill.measured_ms = usage.prefill_ms;
  if (usage.completion_tokens > 1) info.decode.measured_ms = usage.decode_ms / (usage.completion_tokens - 1);
  info.joules = usage.joules;
  info.energy_source = usage.energy_source;
  if (usage.completion_tokens > 0) {
    ModelEntry& entry = models_.at(ended.request->model_);
    constexpr double kNewest = 0.1;
    const double weight = entry.mean_answer > 0 ? kNewest : 1;
    entry.mean_answer += weight * (usage.completion_tokens - entry.mean_answer);
  }
  if (ended_.size() >= kMaxEnded) ended_.pop_front();
  ended_.push_back(std::move(info));
}

bool LivePlanner::DevicesChanged() {
  bool changed = false;
  int num_usable = 0;
  const std::optional<Overdue> overdue = FindOverdue();
  for (size_t i = 0; i < watches_.size(); ++i) {
    DeviceWatch& watch = watches_[i];
    if (watch.device == nullptr) continue;
    const auto device = static_cast<int>(i);
    const bool usable = watch.device->health().ok();
    num_usable += usable ? 1 : 0;
    double factor = overdue && overdue->device == device ? std::log(overdue->factor) : 0;
    constexpr double kDecodeRows = 1, kPrefillRows = 256;
    const CorrectionTable& corrections = costs_.corrections();
    factor += corrections.Lookup({device, CostKind::kFeedForward, Phase::kDecode, RowBucketOf(kDecodeRows)}).log_factor;
    factor +=
        corrections.Lookup({device, CostKind::kFeedForward, Phase::kPrefill, RowBucketOf(kPrefillRows)}).log_factor;
    if (usable == watch.was_usable && std::abs(factor - watch.noted_factor) < kChange) continue;
    watch.was_usable = usable;
    watch.noted_factor = factor;
    changed = true;
  }
  return changed && num_usable > 1;
}

// Requests that would be better off elsewhere by now, with what is left of them.
void LivePlanner::LookOver() {
  if (live_.empty() || !DevicesChanged()) return;
  for (const auto& request : live_) {
    ModelEntry& entry = models_.at(request->model_);
    if (!entry.chooses || !request->plan_) continue;
    const int64_t done = request->num_computed_.load();
    RequestShape left = request->shape_;
    left.cached_tokens = std::min(done, left.prompt_tokens - 1);
    left.max_tokens = std::max<int64_t>(1, left.max_tokens - std::max<int64_t>(0, done - left.prompt_tokens));
    SetPlanningState(entry, request.get());
    const SearchOptions options = SearchFor(entry);
    const Result<PlanDecision> decision = SearchPlacement(costs_, entry.work, left, options);
    const Result<RequestPlan> now = PricePlan(costs_, entry.work, left, options, *request->plan_);
    ClearState();
    if (!decision.ok()) continue;
    const std::vector<RankedPlan> plans = Rank(*decision, entry.engine->routes());
    const auto best = std::ranges::find(plans, true, &RankedPlan::is_open);
    if (best == plans.end() || best->name == request->info_.placement) continue;
    if (now.ok() && !WorthSwitching(*now, *best->plan, 0, 1)) continue;
    if (done == 0 && request->info_.state == "waiting") {
      request->plan_ = *best->plan;
      request->info_.placement = best->name;
    } else {
      moves_.push_back({request->id_, request->model_, best->name, *best->plan});
      has_moves_.store(true);
    }
  }
}

void LivePlanner::Work() {
  energy_.Open(options_.power_root);
  TimePoint looked{}, saved = std::chrono::steady_clock::now();
  for (;;) {
    {
      std::unique_lock lock(notes_mutex_);
      // While a step is under way that takes its time, what waits behind it wants to be looked over, too.
      const auto wake = [this] { return stopping_ || !notes_.empty() || in_flight_.active; };
      noted_.wait(lock, wake);
      if (noted_.wait_for(lock, kDrainInterval, [this] { return stopping_; })) return;
    }
    const TimePoint now = std::chrono::steady_clock::now();
    energy_.Sample();
    const std::lock_guard lock(mutex_);
    Drain();
    if (now - looked >= kLookInterval) {
      LookOver();
      looked = now;
    }
    if (now - saved >= kSaveInterval) {
      SaveCorrections();
      saved = now;
    }
  }
}

// --- what people want to know ---

std::vector<PlanInfo> LivePlanner::Plans() {
  const std::lock_guard lock(mutex_);
  Drain();
  std::vector<PlanInfo> plans;
  for (const auto& request : live_) {
    plans.push_back(request->info_);
    if (request->num_computed_.load() > 0) plans.back().state = "running";
  }
  plans.insert(plans.end(), ended_.begin(), ended_.end());
  std::ranges::sort(plans, std::ranges::greater(), &PlanInfo::id);
  return plans;
}

std::vector<TraceSpan> LivePlanner::Trace() {
  const std::lock_guard lock(mutex_);
  Drain();
  return records_.Trace();
}

std::vector<PredictionStats> LivePlanner::Predictions() {
  const std::lock_guard lock(mutex_);
  Drain();
  return records_.Predictions();
}

std::vector<RouteStatus> LivePlanner::Routes() const {
  constexpr const char* kStates[] = {"opening", "ready", "failed"};
  const std::lock_guard lock(mutex_);
  std::vector<RouteStatus> list;
  for (const auto& [idx, entry] : models_) {
    for (const RouteInfo& info : entry.engine->routes().List()) {
      list.push_back({entry.id, info.placement, kStates[static_cast<size_t>(info.state)], info.error.message()});
    }
  }
  return list;
}

}  // namespace lem
