#include "scheduler/placement_search.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <tuple>

#include "scheduler/plan_memory.h"
#include "scheduler/search_candidates.h"
#include "scheduler/search_tables.h"

namespace lem {
namespace {

constexpr std::string_view kGoalNames[] = {"latency", "energy", "balanced"};
// Over a limit the score grows by this for each part of the limit, so that the least late plan wins.
constexpr double kLimitPenalty = 1e3;
// Between plans of equal joules the faster one: joules a millisecond, far below any real power.
constexpr double kTieJoulesPerMs = 1e-7;
// Fractions of rows that are tried in both phases beside the balanced ones, since one cut serves both.
constexpr std::array<double, 3> kCommonFractions{0.25, 0.5, 0.75};
// Scores closer than this are equal: predictions are not that good.
constexpr double kAsGood = 0.003;
// A device that works less than this share of a phase is not what the plan is about.
constexpr double kMinorShare = 0.2;
// Chunk sizes for which splits of layers are searched, the best for whole devices.
constexpr size_t kChunksOfSplits = 2;

// The score of a request is linear in these.
struct ScoreWeights {
  std::array<double, 2> ms{};  // by phase
  double joules = 0;
  double Of(Phase phase, double phase_ms, double phase_joules) const {
    return ms[static_cast<size_t>(phase)] * phase_ms + joules * phase_joules;
  }
};

struct Scored {
  Candidate candidate;
  const PhaseTable* table = nullptr;
  PhaseCost cost;
  double score = 0;
};

// Clauses that ClausesOf makes.
int Clauses(const Candidate& c) {
  switch (c.family) {
    case PlanFamily::kParts:
      return 1 + (c.runs[0].feed_forward != c.runs[0].attention ? 1 : 0) + (c.head != c.runs[0].attention ? 1 : 0);
    case PlanFamily::kThreeLayers:
      return 4;
    case PlanFamily::kLayers:
      return c.head == c.runs[0].attention ? 2 : 3;
    case PlanFamily::kPartialFeedForward:
    case PlanFamily::kRows:
      return 2;
  }
  return 0;
}

// Devices that work in a phase, as bits; 0 if one of them hardly does.
uint32_t Busy(const Scored& scored) {
  uint32_t bits = 0;
  for (size_t d = 0; d < scored.cost.busy_ms.size(); ++d) {
    if (scored.cost.busy_ms[d] <= 0) continue;
    if (scored.cost.busy_ms[d] < kMinorShare * scored.cost.ms()) return 0;
    bits |= 1U << d;
  }
  return bits;
}

// The best candidate of each family and choice of devices.
class BestBySignature {
 public:
  explicit BestBySignature(int num_devices) : num_devices_(num_devices) {}

  void Offer(const Scored& scored) {
    if (!scored.cost.possible) return;
    const size_t key = Key(scored.candidate);
    if (key >= slot_of_.size()) slot_of_.resize(key + 1, -1);
    if (slot_of_[key] < 0) {
      slot_of_[key] = static_cast<int32_t>(best_.size());
      best_.push_back(scored);
    } else if (Scored& best = best_[static_cast<size_t>(slot_of_[key])]; scored.score < best.score) {
      best = scored;
    }
  }
  // In the order in which signatures were first seen.
  const std::vector<Scored>& best() const { return best_; }

 private:
  // Fractions of rows are part of the signature, because both phases must agree on one.
  size_t Key(const Candidate& c) const {
    const auto n = static_cast<size_t>(num_devices_);
    size_t key = 0;
    const auto digit = [&key](size_t base, size_t value) { key = key * base + value; };
    digit(1, 0);
    digit(n, static_cast<size_t>(c.runs[0].attention));
    if (c.family == PlanFamily::kRows) {
      digit(n, static_cast<size_t>(c.rows_device));
      digit(100, static_cast<size_t>(std::lround(c.rows_fraction * 100)));
    } else {
      digit(n, static_cast<size_t>(c.num_runs > 1 ? c.runs[1].attention : c.runs[0].feed_forward));
      digit(n, static_cast<size_t>(c.family == PlanFamily::kPartialFeedForward ? c.runs[0].feed_forward : c.head));
    }
    return key * kNumPlanFamilies + static_cast<size_t>(c.family);
  }

  int num_devices_;
  std::vector<int32_t> slot_of_;  // by key; -1 = none
  std::vector<Scored> best_;
};

class Search {
 public:
  Search(const CostModel& costs, const ModelWork& model, const RequestShape& request, const SearchOptions& options)
      : costs_(costs),
        model_(model),
        request_(request),
        options_(options),
        num_devices_(costs.num_devices()),
        memory_(costs, model_, request_) {
    goal_ = options.goal == Goal::kEnergy && !costs.power().known ? Goal::kLatency : options.goal;
  }

  Result<PlanDecision> Run() {
    LEM_TRY(Check());
    MakeTables();
    LEM_TRY(MakeWeights());
    const PhaseLists lists = SearchPhases();
    Pair(lists);
    if (plans_.empty()) return NothingFits();
    return Decide();
  }

  Result<RequestPlan> Price(const RequestPlan& plan) {
    LEM_TRY(Check());
    MakeTables();
    LEM_TRY(MakeWeights());
    const Scored decode = Score(decode_table_[0], plan.decode_candidate);
    std::vector<Scored> prefills;
    prefills.reserve(prefill_tables_.size());
    for (const PhaseTable& table : prefill_tables_) prefills.push_back(Score(table, plan.prefill_candidate));
    for (const Scored& prefill : prefills) Add(prefill, decode);
    if (plans_.empty()) return Unavailable("the plan \"{}\" cannot run now", FormatPlacement(plan.placement));
    return Decide().best;
  }

 private:
  // Two halves of a request, and what comes between them.
  struct Waits {
    double prefill_ms = 0, decode_ms = 0, kv_bytes = 0;
  };
  struct Pairing {
    const Scored* prefill = nullptr;
    const Scored* decode = nullptr;
    double score = 0;
    int num_clauses = 0;
  };
  struct PhaseLists {
    std::vector<Scored> prefills, decodes;
    std::vector<std::pair<Scored, Scored>> both;
  };

  Status Check() const;
  void MakeTables();
  Status MakeWeights();
  PhaseLists SearchPhases();
  void Pair(const PhaseLists& lists);
  void Add(const Scored& prefill, const Scored& decode);
  Status NothingFits() const;
  PlanDecision Decide();

  template <typename Visit>
  void VisitThreeRuns(const std::array<int, 3>& devices, const Visit& visit) const;
  std::vector<double> FractionsOf(int rest, int rows_device) const;

  Scored Score(const PhaseTable& table, const Candidate& candidate) const;
  Waits WaitsOf(const Scored& prefill, const Scored& decode) const;
  double ScoreOf(const Scored& prefill, const Scored& decode) const;
  double LateBy(double prefill_ms, double decode_ms) const;
  RequestPlan MakePlan(const Pairing& pairing) const;
  PhasePlan MakePhase(const Scored& scored, double wait_ms) const;
  double QueueMs(const PhaseCost& cost) const;
  Placement MakePlacement(const Candidate& prefill, const Candidate& decode) const;
  std::string WhyLost(const RequestPlan& best, const RequestPlan& plan) const;

  const CostModel& costs_;
  const ModelWork& model_;
  const RequestShape request_;
  const SearchOptions& options_;
  const int num_devices_;
  Goal goal_;
  ScoreWeights weights_;
  std::vector<PhaseTable> prefill_tables_;  // by chunk; the best for whole devices first once weights are known
  std::vector<PhaseTable> decode_table_;    // one
  const PlanMemory memory_;
  std::vector<Pairing> plans_;
  int64_t num_candidates_ = 0;
};

Status Search::Check() const {
  if (num_devices_ > kMaxDevices) {
    return InvalidArgument("the machine has {} devices; plans are made for at most {}", num_devices_, kMaxDevices);
  }
  if (model_.num_layers < 1 || model_.attention.size() != static_cast<size_t>(model_.num_layers)) {
    return InvalidArgument("model '{}' has {} layers; at least 1 is needed", model_.name, model_.num_layers);
  }
  if (request_.prompt_tokens < 1 || request_.max_tokens < 1 || request_.batch < 1 || request_.cached_tokens < 0 ||
      request_.cached_tokens >= request_.prompt_tokens) {
    return InvalidArgument(
        "a request of {} prompt tokens ({} cached), {} new tokens and {} sequences cannot be planned; each must be at "
        "least 1 and fewer tokens cached than the prompt has",
        request_.prompt_tokens, request_.cached_tokens, request_.max_tokens, request_.batch);
  }
  if (options_.chunks.empty()) return InvalidArgument("no chunk sizes are given");
  return OkStatus();
}

void Search::MakeTables() {
  const int64_t rows = request_.prompt_tokens - request_.cached_tokens;
  for (const int64_t chunk : options_.chunks) {
    prefill_tables_.emplace_back(costs_, model_, request_, Phase::kPrefill, chunk);
    if (chunk >= rows) break;  // larger ones are the same
  }
  decode_table_.emplace_back(costs_, model_, request_, Phase::kDecode, 0);
}

Status Search::MakeWeights() {
  double best_ttft = INFINITY, best_decode = INFINITY, best_joules = INFINITY;
  std::vector<std::pair<double, size_t>> chunk_order;
  const auto decode_of = [&](int device) { return decode_table_[0].Evaluate(OnOneDevice(device, model_.num_layers)); };
  for (size_t t = 0; t < prefill_tables_.size(); ++t) {
    double fastest = INFINITY;
    for (int device = 0; device < num_devices_; ++device) {
      const PhaseCost prefill = prefill_tables_[t].Evaluate(OnOneDevice(device, model_.num_layers));
      const PhaseCost decode = decode_of(device);
      if (!prefill.possible || !decode.possible) continue;
      fastest = std::min(fastest, prefill.ms());
      best_ttft = std::min(best_ttft, prefill.ms());
      best_decode = std::min(best_decode, decode.ms());
      const double idle_joules = costs_.IdleWatts() * (prefill.ms() + decode.ms()) * 1e-3;
      best_joules = std::min(best_joules, prefill.joules + decode.joules + idle_joules);
    }
    chunk_order.emplace_back(fastest, t);
  }
  if (!std::isfinite(best_ttft)) return Unavailable("no device of machine '{}' can be used", costs_.machine().id);
  std::ranges::sort(chunk_order);
  std::vector<PhaseTable> ordered;
  ordered.reserve(chunk_order.size());
  for (const auto& [ms, t] : chunk_order) ordered.push_back(std::move(prefill_tables_[t]));
  prefill_tables_.clear();
  for (PhaseTable& table : ordered) prefill_tables_.push_back(std::move(table));
  switch (goal_) {
    case Goal::kLatency:
      weights_ = {.ms = {1, 1}};
      break;
    case Goal::kEnergy:
      weights_ = {.ms = {kTieJoulesPerMs, kTieJoulesPerMs}, .joules = 1};
      break;
    case Goal::kBalanced:
      weights_ = {.ms = {options_.ttft_weight / best_ttft, options_.tpot_weight / best_decode}};
      if (costs_.power().known && best_joules > 0) weights_.joules = options_.joules_weight / best_joules;
      break;
  }
  return OkStatus();
}

// Scores are sums over layers, so where the first cut is best does not depend on the second: without memory limits,
// each cut is looked for with the other at its end.
template <typename Visit>
void Search::VisitThreeRuns(const std::array<int, 3>& devices, const Visit& visit) const {
  const int32_t n = model_.num_layers;
  Candidate candidate;
  candidate.family = PlanFamily::kThreeLayers;
  candidate.num_runs = 3;
  candidate.head = static_cast<int16_t>(devices[2]);
  const auto cut = [&](int32_t i, int32_t j) -> const Candidate& {
    const std::array<int32_t, 4> ends{0, i, j, n};
    for (size_t r = 0; r < 3; ++r) {
      const auto device = static_cast<int16_t>(devices[r]);
      candidate.runs[r] = {ends[r], ends[r + 1], device, device};
    }
    return candidate;
  };
  if (n < 3) return;
  if (memory_.may_bind()) {
    for (int32_t i = 1; i + 1 < n; ++i) {
      for (int32_t j = i + 1; j < n; ++j) {
        visit(cut(i, j));
      }
    }
    return;
  }
  const auto best_of = [&](const PhaseTable& table) {
    double best_first = INFINITY, best_both = INFINITY;
    int32_t first = 1, best_i = 1, best_j = n - 1;
    for (int32_t j = 2; j < n; ++j) {
      const double with_first = Score(table, cut(j - 1, n - 1)).score;
      if (with_first < best_first) best_first = with_first, first = j - 1;
      const double both = best_first + Score(table, cut(1, j)).score;
      if (both < best_both) best_both = both, best_i = first, best_j = j;
    }
    visit(cut(best_i, best_j));
  };
  best_of(decode_table_[0]);
  best_of(prefill_tables_[0]);
}

std::vector<double> Search::FractionsOf(int rest, int rows_device) const {
  if (!decode_table_[0].CanRun(rest) || !decode_table_[0].CanRun(rows_device)) return {};
  std::vector<double> fractions(kCommonFractions.begin(), kCommonFractions.end());
  fractions.push_back(decode_table_[0].BalancedFraction(rest, rows_device));
  fractions.push_back(prefill_tables_[0].BalancedFraction(rest, rows_device));
  std::ranges::sort(fractions);
  fractions.erase(std::unique(fractions.begin(), fractions.end()), fractions.end());
  return fractions;
}

Scored Search::Score(const PhaseTable& table, const Candidate& candidate) const {
  Scored scored{candidate, &table, table.Evaluate(candidate), 0};
  const double idle_joules = costs_.IdleWatts() * scored.cost.ms() * 1e-3;
  scored.score = weights_.Of(table.phase(), scored.cost.ms(), scored.cost.joules + idle_joules);
  const double steps = table.phase() == Phase::kPrefill ? 1 : static_cast<double>(table.steps());
  const double limit = table.phase() == Phase::kPrefill ? options_.max_ttft_ms : options_.max_tpot_ms;
  const double late = limit > 0 ? scored.cost.ms() / steps / limit - 1 : 0;
  if (late > 0) scored.score *= 1 + kLimitPenalty * late;
  return scored;
}

Search::PhaseLists Search::SearchPhases() {
  BestBySignature prefills(num_devices_), decodes(num_devices_), both_prefill(num_devices_), both_decode(num_devices_);
  const auto visit = [&](const Candidate& candidate, size_t num_chunks) {
    num_candidates_ += 1 + static_cast<int64_t>(num_chunks);
    if (!memory_.Fits(candidate)) return;
    const Scored decode = Score(decode_table_[0], candidate);
    decodes.Offer(decode);
    for (size_t t = 0; t < num_chunks; ++t) {
      Scored prefill = Score(prefill_tables_[t], candidate);
      prefills.Offer(prefill);
      // The same cut in both phases: scored as a whole, remembered as two halves under one signature.
      Scored half = decode;
      prefill.score = half.score = prefill.score + decode.score;
      prefill.cost.possible &= decode.cost.possible;
      half.cost.possible = prefill.cost.possible;
      both_prefill.Offer(prefill);
      both_decode.Offer(half);
    }
  };
  const CandidateSpace space(costs_.machine(), model_.num_layers);
  space.VisitParts([&](const Candidate& candidate) { visit(candidate, prefill_tables_.size()); });
  const size_t few = std::min(kChunksOfSplits, prefill_tables_.size());
  const auto visit_few = [&](const Candidate& candidate) { visit(candidate, few); };
  space.VisitSplits(visit_few, [&](const std::array<int, 3>& devices) { VisitThreeRuns(devices, visit_few); });
  space.VisitRows([this](int rest, int rows_device) { return FractionsOf(rest, rows_device); }, visit_few);
  PhaseLists lists{prefills.best(), decodes.best(), {}};
  for (size_t i = 0; i < both_prefill.best().size(); ++i) {
    lists.both.emplace_back(both_prefill.best()[i], both_decode.best()[i]);
  }
  return lists;
}

double Search::QueueMs(const PhaseCost& cost) const {
  double ms = 0;
  for (int d = 0; d < num_devices_; ++d) {
    if (cost.busy_ms[static_cast<size_t>(d)] > 0) ms = std::max(ms, costs_.state(d).queue_ms);
  }
  return ms;
}

Search::Waits Search::WaitsOf(const Scored& prefill, const Scored& decode) const {
  Waits waits{.prefill_ms = QueueMs(prefill.cost)};
  const PlanMemory::KvMove kv = memory_.MoveKv(prefill.candidate, decode.candidate);
  waits.kv_bytes = kv.bytes;
  waits.decode_ms = kv.ms + std::max(QueueMs(decode.cost) - prefill.cost.ms() - waits.prefill_ms, 0.0);
  return waits;
}

// How far over its limits a request is, in parts of them.
double Search::LateBy(double prefill_ms, double decode_ms) const {
  const double tpot_ms = decode_ms / static_cast<double>(decode_table_[0].steps());
  const double ttft_late = options_.max_ttft_ms > 0 ? prefill_ms / options_.max_ttft_ms - 1 : 0;
  const double tpot_late = options_.max_tpot_ms > 0 ? tpot_ms / options_.max_tpot_ms - 1 : 0;
  return std::max(ttft_late, 0.0) + std::max(tpot_late, 0.0);
}

double Search::ScoreOf(const Scored& prefill, const Scored& decode) const {
  const Waits waits = WaitsOf(prefill, decode);
  const double prefill_ms = prefill.cost.ms() + waits.prefill_ms, decode_ms = decode.cost.ms() + waits.decode_ms;
  const double idle_w = costs_.IdleWatts();
  const double score = weights_.Of(Phase::kPrefill, prefill_ms, prefill.cost.joules + idle_w * prefill_ms * 1e-3) +
                       weights_.Of(Phase::kDecode, decode_ms, decode.cost.joules + idle_w * decode_ms * 1e-3);
  return score * (1 + kLimitPenalty * LateBy(prefill_ms, decode_ms));
}

PhasePlan Search::MakePhase(const Scored& scored, double wait_ms) const {
  const PhaseCost& cost = scored.cost;
  PhasePlan plan;
  plan.ms = cost.ms() + wait_ms;
  plan.ms_p90 = plan.ms * std::exp(kP90 * scored.table->LogError(scored.candidate));
  plan.work_ms = cost.work_ms;
  plan.switch_ms = cost.switch_ms;
  plan.wait_ms = cost.compile_ms + wait_ms;
  plan.joules = cost.joules + costs_.IdleWatts() * plan.ms * 1e-3;
  plan.moved_bytes = cost.moved_bytes;
  plan.chunk_tokens = scored.table->chunk();
  plan.steps = scored.table->steps();
  for (int d = 0; d < num_devices_; ++d) {
    const auto idx = static_cast<size_t>(d);
    if (cost.busy_ms[idx] > 0) plan.shares.push_back({d, cost.busy_ms[idx], cost.share_ms[idx]});
  }
  std::ranges::sort(plan.shares, {}, [](const DeviceShare& share) { return std::pair(-share.share_ms, share.device); });
  return plan;
}

RequestPlan Search::MakePlan(const Pairing& pairing) const {
  const Candidate& prefill = pairing.prefill->candidate;
  const Candidate& decode = pairing.decode->candidate;
  const Waits waits = WaitsOf(*pairing.prefill, *pairing.decode);
  return {.placement = MakePlacement(prefill, decode),
          .prefill_candidate = prefill,
          .decode_candidate = decode,
          .prefill = MakePhase(*pairing.prefill, waits.prefill_ms),
          .decode = MakePhase(*pairing.decode, waits.decode_ms),
          .kv_bytes_moved = waits.kv_bytes,
          .score = pairing.score,
          .meets_limits =
              LateBy(pairing.prefill->cost.ms() + waits.prefill_ms, pairing.decode->cost.ms() + waits.decode_ms) <= 0,
          .memory_bytes = memory_.Of(prefill, decode)};
}

void Search::Add(const Scored& prefill, const Scored& decode) {
  if (!prefill.cost.possible || !decode.cost.possible) return;
  const Candidate &p = prefill.candidate, &d = decode.candidate;
  // A model's matrices are cut once: both phases use the same halves.
  if (p.rows_device >= 0 && d.rows_device >= 0 && !(p == d)) return;
  if (!memory_.Fits(p, d)) return;
  plans_.push_back({&prefill, &decode, ScoreOf(prefill, decode), p == d ? Clauses(d) : Clauses(p) + Clauses(d)});
}

void Search::Pair(const PhaseLists& lists) {
  for (const auto& [prefill, decode] : lists.both) Add(prefill, decode);
  // Pairs of the best are enough: what a pair adds (keys and values, queues, memory) does not depend on where exactly
  // layers are cut, but on the devices, and each choice of devices is in the lists.
  for (const Scored& prefill : lists.prefills) {
    for (const Scored& decode : lists.decodes) Add(prefill, decode);
  }
}

Placement Search::MakePlacement(const Candidate& prefill, const Candidate& decode) const {
  if (prefill == decode) return {ClausesOf(decode, costs_.machine(), model_.num_layers, std::nullopt)};
  Placement placement{ClausesOf(prefill, costs_.machine(), model_.num_layers, Phase::kPrefill)};
  std::vector<PlacementClause> rest = ClausesOf(decode, costs_.machine(), model_.num_layers, Phase::kDecode);
  // What prefill's clauses leave over is decode: its last clause needs no phase, and then covers everything.
  rest.back().phase.reset();
  placement.clauses.insert(placement.clauses.end(), rest.begin(), rest.end());
  return placement;
}

Status Search::NothingFits() const {
  std::vector<std::string> sizes;
  for (const DeviceProfile& device : costs_.machine().devices) {
    if (device.memory_bytes > 0) {
      sizes.push_back(fmt::format("{} {:.2f} GB", device.id, static_cast<double>(device.memory_bytes) * 1e-9));
    }
  }
  return ResourceExhausted(
      "model '{}' needs {:.2f} GB for its weights and {:.2f} GB for keys and values of {} tokens; the devices have {}; "
      "take a smaller model, quantisation or context",
      model_.name, model_.weight_memory_bytes() * 1e-9,
      model_.kv_elements_per_token() * 2e-9 * static_cast<double>(request_.prompt_tokens + request_.max_tokens),
      request_.prompt_tokens + request_.max_tokens, fmt::join(sizes, ", "));
}

std::string Search::WhyLost(const RequestPlan& best, const RequestPlan& plan) const {
  if (!plan.meets_limits && best.meets_limits) {
    return fmt::format("over a limit: first token after {:.0f} ms, {:.1f} ms a token", plan.prefill.ms,
                       plan.decode.ms / static_cast<double>(plan.decode.steps));
  }
  const auto compare = [](std::string_view what, const PhasePlan& a, const PhasePlan& b) -> std::string {
    const double more = b.ms / a.ms - 1;
    if (std::abs(more) < 0.0005) return fmt::format("{} as fast", what);
    const double by_switches = b.switch_ms - a.switch_ms, by_waits = b.wait_ms - a.wait_ms;
    const double by_work = b.work_ms - a.work_ms;
    std::string text = fmt::format("{} {:.{}f} % {}", what, 100 * std::abs(more), std::abs(more) < 0.1 ? 1 : 0,
                                   more > 0 ? "slower" : "faster");
    if (more > 0 && by_switches > std::max(by_work, by_waits)) text += " (launches and waits)";
    if (more > 0 && by_waits > std::max(by_work, by_switches))
      text += " (waiting for devices, programs or keys and values)";
    return text;
  };
  std::string text =
      compare("prefill", best.prefill, plan.prefill) + ", " + compare("decode", best.decode, plan.decode);
  if (goal_ != Goal::kLatency && best.joules() > 0) {
    text += fmt::format(", {:.2f}x the joules", plan.joules() / best.joules());
  }
  return text;
}

PlanDecision Search::Decide() {
  std::ranges::sort(plans_, {}, [](const Pairing& p) { return std::tuple(p.score, p.num_clauses); });
  // Of plans that are as good, the one that is said in the fewest words.
  const auto good_end =
      std::ranges::find_if(plans_, [&](const Pairing& p) { return p.score > plans_.front().score * (1 + kAsGood); });
  const auto chosen = std::min_element(
      plans_.begin(), good_end, [](const Pairing& a, const Pairing& b) { return a.num_clauses < b.num_clauses; });
  PlanDecision decision{.best = MakePlan(*chosen), .goal = goal_};
  decision.num_candidates = num_candidates_ + static_cast<int64_t>(plans_.size());
  // Of plans that use the same devices the best one, and every device alone: what a person would ask about.
  std::vector<std::array<uint32_t, 2>> shown{{Busy(*chosen->prefill), Busy(*chosen->decode)}};
  for (const Pairing& pairing : plans_) {
    const std::array<uint32_t, 2> key{Busy(*pairing.prefill), Busy(*pairing.decode)};
    if (key[0] == 0 || key[1] == 0 || std::ranges::find(shown, key) != shown.end()) continue;
    shown.push_back(key);
    const bool alone = key[0] == key[1] && std::has_single_bit(key[0]);
    if (!alone && decision.alternatives.size() >= options_.max_alternatives) continue;
    const RequestPlan plan = MakePlan(pairing);
    decision.alternatives.push_back({plan, WhyLost(decision.best, plan)});
  }
  return decision;
}

}  // namespace

std::string_view GoalName(Goal goal) { return kGoalNames[static_cast<size_t>(goal)]; }

Result<Goal> ParseGoal(std::string_view name) {
  const auto* const found = std::ranges::find(kGoalNames, name);
  if (found == std::end(kGoalNames)) {
    return InvalidArgument("the objective is '{}'; allowed: {}", name, fmt::join(kGoalNames, ", "));
  }
  return static_cast<Goal>(found - kGoalNames);
}

Result<PlanDecision> SearchPlacement(const CostModel& costs, const ModelWork& model, const RequestShape& request,
                                     const SearchOptions& options) {
  return Search(costs, model, request, options).Run();
}

Result<RequestPlan> PricePlan(const CostModel& costs, const ModelWork& model, const RequestShape& request,
                              const SearchOptions& options, const RequestPlan& plan) {
  return Search(costs, model, request, options).Price(plan);
}

bool WorthSwitching(const RequestPlan& now, const RequestPlan& candidate, double switch_ms, double remaining_share,
                    const SwitchRule& rule) {
  const double gain = 1 - candidate.score / now.score;
  if (!(gain > rule.min_gain)) return false;
  return (now.ms() - candidate.ms()) * remaining_share > switch_ms || switch_ms <= 0;
}

std::string KindsOf(const CostModel& costs, const PhasePlan& phase) {
  std::vector<std::string> kinds;
  for (const DeviceShare& share : phase.shares) {
    const std::string& kind = costs.device(share.device).kind;
    if (std::ranges::find(kinds, kind) == kinds.end()) kinds.push_back(kind);
  }
  return fmt::format("{}", fmt::join(kinds, "+"));
}

}  // namespace lem
