#include "apps/lem-bench/predict_bench.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cmath>
#include <csignal>
#include <numeric>
#include <random>

#include "apps/lem-bench/step_runner.h"
#include "base/json.h"
#include "base/statistics.h"
#include "runtime/profile/planner.h"

namespace lem {
namespace {

// None of them is what profiles measure.
constexpr BenchStep kSteps[] = {
    {Phase::kDecode, 1, 100},  {Phase::kDecode, 1, 1200},   {Phase::kDecode, 3, 300},  {Phase::kDecode, 6, 50},
    {Phase::kDecode, 12, 200}, {Phase::kPrefill, 24, 0},    {Phase::kPrefill, 100, 0}, {Phase::kPrefill, 100, 700},
    {Phase::kPrefill, 200, 0}, {Phase::kPrefill, 40, 1500},
};

// A profile's predictions for one model on one device.
class Predictor {
 public:
  static Result<Predictor> Create(const Model& model, const std::string& device) {
    LEM_ASSIGN_OR_RETURN(const MeasuredMachine machine, LoadMachine(ProfilesFolder(), DeviceClock::kWall));
    LEM_ASSIGN_OR_RETURN(CostModel costs, machine.MakeCostModel());
    const int idx = costs.machine().Find(device);
    if (idx < 0) return NotFound("the profile has no device '{}'; measure it with `lem profile`", device);
    LEM_ASSIGN_OR_RETURN(ModelWork work, WorkOfModel(model));
    return Predictor(std::move(costs), std::move(work), idx, machine.reference_ms);
  }

  double PredictMs(const StepShape& shape) const {
    return EdgesMs(shape.phase) + PredictPartsMs(costs_, device_, work_, parts_, shape, shape.sequences);
  }
  void Observe(const StepShape& shape, double ms) {
    costs_.Observe(device_, work_, parts_, shape, shape.sequences, ms - EdgesMs(shape.phase));
  }
  double reference_ms() const { return reference_ms_; }

 private:
  Predictor(CostModel costs, ModelWork work, int device, double reference_ms)
      : costs_(std::move(costs)),
        work_(std::move(work)),
        device_(device),
        parts_(work_.AllParts()),
        reference_ms_(reference_ms) {}
  double EdgesMs(Phase phase) const { return costs_.LaunchMs(device_, phase) + costs_.FinishMs(device_, phase, 0); }

  CostModel costs_;
  ModelWork work_;
  int device_;
  std::vector<int32_t> parts_;
  double reference_ms_;
};

const char* NameOf(Phase phase) { return phase == Phase::kDecode ? "decode" : "prefill"; }

// --- held-out steps ---

struct StepResult {
  BenchStep step;
  double predicted_ms = 0;
  std::vector<double> times_ms;  // at the speed that the machine had when it was profiled
  double measured_ms() const { return Median(times_ms); }
  double error() const { return predicted_ms / measured_ms() - 1; }
};

void Report(const std::vector<StepResult>& results, size_t left_out, const PredictBenchOptions& options) {
  double error = 0;
  JsonWriter out;
  out.BeginObject().Key("model").String(options.model.filename().string()).Key("device").String(options.device);
  out.Key("repeats").Int(options.num_repeats).Key("steps_left_out").UInt(left_out).Key("steps").BeginArray();
  for (const StepResult& result : results) {
    const BenchStep& step = result.step;
    error += std::abs(result.error()) / static_cast<double>(results.size());
    out.BeginObject().Key("phase").String(NameOf(step.phase)).Key("rows").Int(step.rows);
    out.Key("behind_tokens").Int(step.first_position).Key("predicted_ms").Double(result.predicted_ms);
    out.Key("measured_ms").Double(result.measured_ms()).Key("error").Double(result.error()).EndObject();
    if (options.json) continue;
    fmt::print("{:<8} {:>4} rows behind {:>5} tokens: predicted {:9.3f} ms, measured {:9.3f} ms, {:+5.1f} %\n",
               NameOf(step.phase), step.rows, step.first_position, result.predicted_ms, result.measured_ms(),
               100 * result.error());
  }
  out.EndArray().Key("mean_absolute_error").Double(error).EndObject();
  if (options.json) {
    fmt::print("{}\n", out.text());
    return;
  }
  fmt::print("mean absolute error {:.1f} %, {} steps left out\n", 100 * error, left_out);
}

Status HoldOut(StepRunner& runner, const Predictor& predictor, const PredictBenchOptions& options) {
  std::vector<StepResult> results;
  for (const BenchStep& step : kSteps) {
    const double predicted_ms = predictor.PredictMs(step.shape());
    if (predicted_ms <= 1e3 * options.max_step_s) results.push_back({step, predicted_ms, {}});
  }
  SpeedMeter speed(runner.pool(), predictor.reference_ms());
  for (int repeat = -1; repeat < options.num_repeats; ++repeat) {  // the first warms up
    for (StepResult& result : results) {
      // A step of an answer follows one like it; what another shape left in the caches is not part of it.
      LEM_TRY(runner.RunMs(result.step).status());
      speed.Read();
      LEM_ASSIGN_OR_RETURN(const double ms, runner.RunMs(result.step));
      const double normalised_ms = ms * speed.Read();
      if (repeat >= 0) result.times_ms.push_back(normalised_ms);
    }
  }
  Report(results, std::size(kSteps) - results.size(), options);
  return OkStatus();
}

// --- corrections ---

// Another process that computes for as long as this lives.
class BusyProcess {
 public:
  BusyProcess() : child_(::fork()) {
    if (child_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (volatile uint64_t count = 0;;) count = count + 1;
  }
  BusyProcess(const BusyProcess&) = delete;
  ~BusyProcess() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  bool running() const { return child_ > 0; }

 private:
  pid_t child_;
};

// Mean of |predicted / measured - 1| over a range of steps.
double MeanError(std::span<const double> errors) {
  return errors.empty() ? 0 : std::accumulate(errors.begin(), errors.end(), 0.0) / static_cast<double>(errors.size());
}

void ReportCorrection(const std::vector<double>& errors, size_t loaded_from, const PredictBenchOptions& options) {
  constexpr size_t kWindow = 10;
  JsonWriter out;
  out.BeginObject().Key("model").String(options.model.filename().string()).Key("device").String(options.device);
  out.Key("second_process_from_step").UInt(loaded_from).Key("mean_error_of_ten_steps").BeginArray();
  for (size_t begin = 0; begin < errors.size(); begin += kWindow) {
    const std::span<const double> window = std::span(errors).subspan(begin, std::min(kWindow, errors.size() - begin));
    out.Double(MeanError(window));
    if (options.json) continue;
    fmt::print("steps {:>3} to {:>3}{}: mean absolute error {:5.1f} %\n", begin, begin + window.size() - 1,
               begin >= loaded_from ? ", a core is taken" : "", 100 * MeanError(window));
  }
  out.EndArray().Key("errors").BeginArray();
  for (const double error : errors) out.Double(error);
  out.EndArray().EndObject();
  if (options.json) fmt::print("{}\n", out.text());
}

Status WatchCorrection(StepRunner& runner, Predictor& predictor, const PredictBenchOptions& options) {
  std::vector<BenchStep> usable;
  std::ranges::copy_if(kSteps, std::back_inserter(usable), [&](const BenchStep& step) {
    return predictor.PredictMs(step.shape()) <= 1e3 * options.max_step_s;
  });
  for (const BenchStep& step : usable) LEM_TRY(runner.RunMs(step).status());  // compiles and warms up
  const int num_steps = 3 * options.correct_steps;
  std::unique_ptr<BusyProcess> other;
  std::vector<double> errors;
  std::mt19937 random(1);
  for (int i = 0; i < num_steps; ++i) {
    if (i == options.correct_steps) {
      other = std::make_unique<BusyProcess>();
      if (!other->running()) return Internal("no second process could be started");
    }
    const BenchStep& step = usable[random() % usable.size()];
    const double predicted_ms = predictor.PredictMs(step.shape());
    LEM_ASSIGN_OR_RETURN(const double ms, runner.RunMs(step));
    errors.push_back(std::abs(predicted_ms / ms - 1));
    predictor.Observe(step.shape(), ms);
  }
  ReportCorrection(errors, static_cast<size_t>(options.correct_steps), options);
  return OkStatus();
}

}  // namespace

Status RunPredictBench(const PredictBenchOptions& options) {
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<StepRunner> runner,
                       StepRunner::Create(options.model, options.device, options.num_threads));
  LEM_ASSIGN_OR_RETURN(Predictor predictor, Predictor::Create(runner->model(), options.device));
  return options.correct_steps > 0 ? WatchCorrection(*runner, predictor, options)
                                   : HoldOut(*runner, predictor, options);
}

CLI::App* AddPredictCommand(CLI::App& app, PredictBenchOptions& options) {
  CLI::App* command = app.add_subcommand(
      "predict", "Steps of a model on one device: predicted from the machine's profile, and measured");
  command->add_option("--model", options.model, "A .gguf file")->required();
  command->add_option("--device", options.device, "As in a placement")->capture_default_str();
  command->add_option("--threads", options.num_threads, "Compute threads; 0 = one a processor")
      ->check(CLI::Range(0, 1024));
  command->add_option("--repeats", options.num_repeats, "Of each step; medians are told")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_option("--max-step-seconds", options.max_step_s, "Leave out steps that are predicted to take longer")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--correct", options.correct_steps,
                   "Watch predictions being corrected: so many steps alone, twice as many with a core taken")
      ->check(CLI::Range(1, 10'000));
  command->add_flag("--json", options.json, "Print a JSON object");
  return command;
}

}  // namespace lem
