#include "simulator/regret.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "simulator/model_shapes.h"
#include "simulator/soc_profiles.h"

namespace lem {
namespace {

// Distributions of the standard library differ between versions of it; these do not.
class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}
  double Uniform(double low, double high) {
    return low + (high - low) * static_cast<double>(engine_() >> 11) / static_cast<double>(uint64_t{1} << 53);
  }
  size_t Index(size_t size) { return static_cast<size_t>(Uniform(0, static_cast<double>(size))) % size; }
  // Sum of twelve, which is close enough to normal for noise.
  double Normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += Uniform(0, 1);
    return sum;
  }

 private:
  std::mt19937_64 engine_;
};

// The world as it is: what is believed, times factors that hold for a device and a kind of work.
void Perturb(CostModel& truth, double by, Dice& dice) {
  for (int device = 0; device < truth.num_devices(); ++device) {
    for (size_t kind = 0; kind < kNumCostKinds; ++kind) {
      for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
        truth.corrections().Fix(device, static_cast<CostKind>(kind), phase, std::log(dice.Uniform(1 - by, 1 + by)));
      }
    }
  }
}

// What the devices' timelines tell of one run of a plan: the time of each kind of part on each device that it used, of
// switches, and of products side by side.
class Observer {
 public:
  Observer(CostModel& belief, const CostModel& truth, const ModelWork& model, const RequestShape& request, double noise,
           Dice& dice)
      : belief_(belief), truth_(truth), model_(model), request_(request), noise_(noise), dice_(dice) {}

  void Watch(const RequestPlan& plan) {
    WatchPhase(plan.prefill_candidate, plan.prefill, Phase::kPrefill);
    WatchPhase(plan.decode_candidate, plan.decode, Phase::kDecode);
  }

 private:
  void WatchPhase(const Candidate& candidate, const PhasePlan& plan, Phase phase) {
    const auto rows = static_cast<double>(plan.chunk_tokens);
    const bool decode = phase == Phase::kDecode;
    const StepShape shape{phase, rows, decode ? rows : 1, static_cast<double>(request_.prompt_tokens)};
    std::vector<std::pair<int, int32_t>> seen;
    const auto part = [&](int device, int32_t class_idx) {
      if (std::ranges::find(seen, std::pair{device, class_idx}) != seen.end()) return;
      seen.emplace_back(device, class_idx);
      const PartWork& work = model_.classes[static_cast<size_t>(class_idx)];
      const StepShape its = work.part == Part::kHead && !decode ? StepShape{phase, 1, 1, shape.context} : shape;
      const double measured = truth_.Predict(device, model_, work, its).ms() * Noise();
      belief_.Observe(device, model_, {&class_idx, 1}, its, its.rows, measured);
    };
    const auto both = [&](int device, int32_t class_idx) {
      part(device, class_idx);
      if (candidate.rows_device >= 0) part(candidate.rows_device, class_idx);
    };
    for (int32_t layer = 0; layer < model_.num_layers; ++layer) {
      both(candidate.AttentionOf(layer), model_.attention[static_cast<size_t>(layer)]);
      both(candidate.FeedForwardOf(layer), model_.feed_forward[static_cast<size_t>(layer)]);
    }
    both(candidate.head, model_.head);
    for (const DeviceShare& share : plan.shares) {
      Ratio(share.device, CostKind::kSwitch, phase, truth_.LaunchMs(share.device, phase),
            belief_.LaunchMs(share.device, phase));
    }
    if (candidate.rows_device >= 0) {
      const int rest = candidate.embedding(), rows_device = candidate.rows_device;
      Ratio(rows_device, CostKind::kJoint, phase, truth_.JointFactor(rest, rows_device, phase),
            belief_.JointFactor(rest, rows_device, phase));
    }
  }

  void Ratio(int device, CostKind kind, Phase phase, double measured, double predicted) {
    if (predicted > 0) belief_.ObserveRatio(device, kind, phase, measured * Noise() / predicted);
  }
  double Noise() { return std::exp(noise_ * dice_.Normal()); }

  CostModel& belief_;
  const CostModel& truth_;
  const ModelWork& model_;
  const RequestShape& request_;
  const double noise_;
  Dice& dice_;
};

struct Drawn {
  const MachineProfile* soc = nullptr;
  const ModelShape* shape = nullptr;
  const QuantBits* quant = nullptr;
  RegretCase result;
};

Drawn Draw(Dice& dice) {
  Drawn drawn;
  std::vector<const MachineProfile*> socs;
  for (const MachineProfile& soc : KnownSocs()) {
    if (soc.devices.size() > 1) socs.push_back(&soc);
  }
  drawn.soc = socs[dice.Index(socs.size())];
  drawn.shape = &KnownModelShapes()[dice.Index(KnownModelShapes().size())];
  do {
    drawn.quant = &KnownQuants()[dice.Index(KnownQuants().size())];
  } while (drawn.quant->name == "mxfp4" && drawn.shape->num_experts == 0);
  RegretCase& c = drawn.result;
  c.soc = drawn.soc->id;
  c.model = drawn.shape->name;
  c.quant = drawn.quant->name;
  c.request.prompt_tokens = std::llround(std::exp2(dice.Uniform(6, 13)));
  c.request.max_tokens = std::llround(std::exp2(dice.Uniform(4, 10)));
  c.goal = static_cast<Goal>(dice.Index(3));
  return drawn;
}

Result<RegretCase> RunCase(const RegretOptions& options, Dice& dice, std::vector<double>& by_step) {
  Drawn drawn = Draw(dice);
  RegretCase& result = drawn.result;
  const ModelWork model = WorkOfShape(*drawn.shape, *drawn.quant);
  LEM_ASSIGN_OR_RETURN(CostModel belief, CostModel::Create(*drawn.soc));
  LEM_ASSIGN_OR_RETURN(CostModel truth, CostModel::Create(*drawn.soc));
  Perturb(truth, options.perturbation, dice);
  const SearchOptions search{.goal = result.goal};
  LEM_ASSIGN_OR_RETURN(const PlanDecision oracle, SearchPlacement(truth, model, result.request, search));
  result.best_plan = FormatPlacement(oracle.best.placement);
  Observer observer(belief, truth, model, result.request, options.noise, dice);
  const auto choose = [&](double optimism) -> Result<std::pair<RequestPlan, double>> {
    belief.SetOptimism(optimism);
    Result<PlanDecision> decision = SearchPlacement(belief, model, result.request, search);
    belief.SetOptimism(0);
    if (!decision.ok()) return std::move(decision).status();
    LEM_ASSIGN_OR_RETURN(const RequestPlan priced, PricePlan(truth, model, result.request, search, decision->best));
    return std::pair{decision->best, std::max(priced.score / oracle.best.score - 1, 0.0)};
  };
  LEM_ASSIGN_OR_RETURN(const auto first, choose(0));
  result.first = first.second;
  for (int step = 0; step < options.num_steps; ++step) {
    LEM_ASSIGN_OR_RETURN(const auto run, choose(options.optimism));
    observer.Watch(run.first);
    result.mean += run.second / options.num_steps;
    by_step[static_cast<size_t>(step)] += run.second / options.num_cases;
  }
  LEM_ASSIGN_OR_RETURN(const auto last, choose(0));
  result.last = last.second;
  result.plan = FormatPlacement(last.first.placement);
  return result;
}

}  // namespace

Result<RegretReport> MeasureRegret(const RegretOptions& options, const std::function<void(int)>& progress) {
  RegretReport report;
  report.by_step.resize(static_cast<size_t>(options.num_steps));
  for (int i = 0; i < options.num_cases; ++i) {
    // A generator of its own for each, so that the first cases of a longer run are those of a shorter one.
    Dice dice(options.seed * 1'000'003 + static_cast<uint64_t>(i));
    LEM_ASSIGN_OR_RETURN(RegretCase result, RunCase(options, dice, report.by_step));
    const double share = 1.0 / options.num_cases;
    report.first_mean += share * result.first;
    report.last_mean += share * result.last;
    report.run_mean += share * result.mean;
    report.first_worst = std::max(report.first_worst, result.first);
    report.last_worst = std::max(report.last_worst, result.last);
    report.num_searches += options.num_steps + 3;
    report.cases.push_back(std::move(result));
    if (progress) progress(i + 1);
  }
  return report;
}

}  // namespace lem
