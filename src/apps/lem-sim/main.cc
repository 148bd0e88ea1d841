// lem-sim: the planner on machines that one does not own. Everything it prints is predicted; nothing runs.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>

#include "base/duration.h"
#include "base/file.h"
#include "base/json.h"
#include "scheduler/plan_report.h"
#include "simulator/csv.h"
#include "simulator/llm_points.h"
#include "simulator/model_shapes.h"
#include "simulator/regret.h"
#include "simulator/soc_profiles.h"

namespace lem {
namespace {

constexpr int64_t kMaxTokens = 1 << 20;

struct PlanArguments {
  std::string soc, model, quant = "q4_k_m", goal = "latency", power;
  RequestShape request{.prompt_tokens = 512, .max_tokens = 128};
  double max_ttft_ms = 0, max_tpot_ms = 0;
};

Status RunPlan(const PlanArguments& arguments, bool json) {
  LEM_ASSIGN_OR_RETURN(const MachineProfile* soc, FindSoc(arguments.soc));
  LEM_ASSIGN_OR_RETURN(const ModelShape* shape, FindModelShape(arguments.model));
  LEM_ASSIGN_OR_RETURN(const QuantBits* quant, FindQuant(arguments.quant));
  SearchOptions options{.max_ttft_ms = arguments.max_ttft_ms, .max_tpot_ms = arguments.max_tpot_ms};
  LEM_ASSIGN_OR_RETURN(options.goal, ParseGoal(arguments.goal));
  PowerSource power = PowerSource::kUnavailable;
  if (!arguments.power.empty()) {
    LEM_ASSIGN_OR_RETURN(power, ParsePowerSource(arguments.power));
  }
  LEM_ASSIGN_OR_RETURN(const CostModel costs, CostModel::Create(*soc, power));
  const ModelWork model = WorkOfShape(*shape, *quant);
  const auto begin = std::chrono::steady_clock::now();
  LEM_ASSIGN_OR_RETURN(const PlanDecision decision, SearchPlacement(costs, model, arguments.request, options));
  const double solve_ms = MillisecondsSince(begin);
  const PlanReport report{costs, model, arguments.request, decision, quant->name, solve_ms};
  fmt::print("{}\n", json ? PlanJson(report) : PlanText(report));
  return OkStatus();
}

struct PointRow {
  const LlmPoint& point;
  Result<LlmSpeed> speed;
  double error_percent() const {
    return speed.ok() && point.tokens_per_s > 0 ? 100 * (speed->tokens_per_s / point.tokens_per_s - 1) : NAN;
  }
};

void WritePoint(JsonWriter& out, const PointRow& row) {
  const LlmPoint& point = row.point;
  out.BeginObject().Key("soc").String(point.soc).Key("device").String(point.device);
  out.Key("engine").String(point.engine).Key("model").String(point.model).Key("quant").String(point.quant);
  out.Key("phase").String(point.phase == Phase::kPrefill ? "prefill" : "decode").Key("context").Int(point.context);
  out.Key("predicted_tokens_per_s").Double(row.speed.ok() ? row.speed->tokens_per_s : NAN);
  out.Key("published_tokens_per_s").Double(point.tokens_per_s > 0 ? point.tokens_per_s : NAN);
  out.Key("error_percent").Double(row.error_percent()).Key("fit").Bool(point.fit);
  if (row.speed.ok()) {
    out.Key("joules_per_token").Double(row.speed->joules_per_token);
    out.Key("power_source").String(row.speed->power_source).Key("guesses").BeginArray();
    for (const std::string& guess : row.speed->guesses) out.String(guess);
    out.EndArray();
  } else {
    out.Key("error").String(row.speed.status().message());
  }
  out.EndObject();
}

void PrintPoint(const PointRow& row) {
  const LlmPoint& point = row.point;
  const std::string name =
      fmt::format("{:<17} {:<5} {:<13} {:<7} {:<7} {:>6}", point.soc, point.device, point.model, point.quant,
                  point.phase == Phase::kPrefill ? "prefill" : "decode", point.context);
  if (!row.speed.ok()) {
    fmt::print("{}  {}\n", name, row.speed.status().message());
  } else if (point.tokens_per_s > 0) {
    fmt::print("{}  {:9.1f} {:9.1f} {:+7.1f} %{}\n", name, row.speed->tokens_per_s, point.tokens_per_s,
               row.error_percent(), point.fit ? "" : "  (superseded build)");
  } else {
    fmt::print("{}  {:9.1f}\n", name, row.speed->tokens_per_s);
  }
}

Status RunPoints(const std::filesystem::path& file, bool json) {
  std::vector<LlmPoint> points;
  if (file.empty()) {
    points = KnownLlmPoints();
  } else {
    LEM_ASSIGN_OR_RETURN(const std::string text, ReadFile(file, CsvTable::kMaxBytes));
    LEM_ASSIGN_OR_RETURN(points, ParseLlmPoints(text, file.filename().string()));
  }
  JsonWriter out;
  out.BeginObject().Key("points").BeginArray();
  if (!json) {
    fmt::print("{:<17} {:<5} {:<13} {:<7} {:<7} {:>6}  {:>9} {:>9}  {:>7}\n", "soc", "device", "model", "quant",
               "phase", "context", "predicted", "published", "error");
  }
  for (const LlmPoint& point : points) {
    const PointRow row{point, PredictLlmSpeed(point)};
    json ? WritePoint(out, row) : PrintPoint(row);
  }
  out.EndArray().EndObject();
  if (json) fmt::print("{}\n", out.text());
  return OkStatus();
}

void PrintRegret(const RegretReport& report, const RegretOptions& options) {
  fmt::print("{} cases, true speeds within {:.0f} % of those believed, {} plans run in each\n", options.num_cases,
             100 * options.perturbation, options.num_steps);
  fmt::print("{:<32} {:>8} {:>8}\n", "regret", "mean", "worst");
  fmt::print("{:<32} {:>6.2f} % {:>6.2f} %\n", "before anything was measured", 100 * report.first_mean,
             100 * report.first_worst);
  fmt::print("{:<32} {:>6.2f} % {:>6.2f} %\n", fmt::format("after {} steps", options.num_steps), 100 * report.last_mean,
             100 * report.last_worst);
  fmt::print("{:<32} {:>6.2f} %\n", "of the plans run while learning", 100 * report.run_mean);
}

void WriteRegret(const RegretReport& report, const RegretOptions& options, double solve_ms) {
  JsonWriter out;
  out.BeginObject().Key("cases").Int(options.num_cases).Key("steps").Int(options.num_steps);
  out.Key("seed").UInt(options.seed).Key("perturbation").Double(options.perturbation);
  const auto write = [&out](std::string_view key, double mean, double worst) {
    out.Key(key).BeginObject().Key("mean").Double(mean).Key("worst").Double(worst).EndObject();
  };
  write("step_0", report.first_mean, report.first_worst);
  write(fmt::format("step_{}", options.num_steps), report.last_mean, report.last_worst);
  write("final", report.last_mean, report.last_worst);
  out.Key("while_learning_mean").Double(report.run_mean).Key("mean_by_step").BeginArray();
  for (const double regret : report.by_step) out.Double(regret);
  out.EndArray().Key("mean_search_ms").Double(solve_ms).Key("worst_cases").BeginArray();
  for (const RegretCase& c : report.cases) {
    if (c.last < 0.05) continue;
    out.BeginObject().Key("soc").String(c.soc).Key("model").String(c.model).Key("quant").String(c.quant);
    out.Key("prompt_tokens").Int(c.request.prompt_tokens).Key("max_tokens").Int(c.request.max_tokens);
    out.Key("objective").String(GoalName(c.goal)).Key("step_0").Double(c.first).Key("final").Double(c.last);
    out.Key("plan").String(c.plan).Key("best_plan").String(c.best_plan).EndObject();
  }
  out.EndArray().EndObject();
  fmt::print("{}\n", out.text());
}

Status RunRegret(const RegretOptions& options, bool json) {
  const auto begin = std::chrono::steady_clock::now();
  LEM_ASSIGN_OR_RETURN(const RegretReport report, MeasureRegret(options));
  const double all_ms = MillisecondsSince(begin);
  // Each search is followed by the pricing of its plan, which takes a small part of it.
  const double solve_ms = all_ms / static_cast<double>(std::max<int64_t>(report.num_searches, 1));
  json ? WriteRegret(report, options, solve_ms) : PrintRegret(report, options);
  return OkStatus();
}

Status ListSocs(bool json) {
  JsonWriter out;
  out.BeginArray();
  for (const MachineProfile& soc : KnownSocs()) {
    out.BeginObject().Key("soc").String(soc.id).Key("dram_gbs").Double(soc.dram_gbs).Key("devices").BeginArray();
    if (!json) fmt::print("{}\n", soc.id);
    for (const DeviceProfile& device : soc.devices) {
      const double tflops = device.GemmTflops("", 4096);
      out.BeginObject().Key("id").String(device.id).Key("kind").String(device.kind);
      out.Key("gemm_tflops").Double(tflops).Key("bandwidth_gbs").Double(device.bandwidth_gbs);
      out.Key("power_w").Double(device.power.busy_w).Key("power_source");
      out.String(PowerSourceName(device.power.source)).Key("guesses").BeginArray();
      for (const std::string& guess : device.guesses) out.String(guess);
      out.EndArray().EndObject();
      if (json) continue;
      fmt::print("  {:<4} {:<20} {:7.1f} TFLOPS {:7.1f} GB/s {:7.1f} W {:<8} {}\n", device.kind, device.id, tflops,
                 device.bandwidth_gbs, device.power.busy_w, PowerSourceName(device.power.source),
                 device.guesses.empty() ? "" : fmt::format("(guessed: {})", fmt::join(device.guesses, ", ")));
    }
    out.EndArray().EndObject();
  }
  out.EndArray();
  if (json) fmt::print("{}\n", out.text());
  return OkStatus();
}

Status ListModels(bool json) {
  JsonWriter out;
  out.BeginObject().Key("models").BeginArray();
  for (const ModelShape& shape : KnownModelShapes()) {
    out.BeginObject().Key("model").String(shape.name).Key("parameters").Double(shape.num_parameters()).EndObject();
    if (!json) fmt::print("{:<14} {:5.2f} billion parameters\n", shape.name, shape.num_parameters() * 1e-9);
  }
  out.EndArray().Key("quants").BeginArray();
  if (!json) fmt::print("\n");
  for (const QuantBits& quant : KnownQuants()) {
    out.BeginObject().Key("quant").String(quant.name).Key("bits").Double(quant.feed_forward).EndObject();
    if (!json) fmt::print("{:<14} {:5.2f} bits a weight of a feed-forward block\n", quant.name, quant.feed_forward);
  }
  out.EndArray().EndObject();
  if (json) fmt::print("{}\n", out.text());
  return OkStatus();
}

CLI::App* AddPlan(CLI::App& app, PlanArguments& arguments) {
  CLI::App* const plan = app.add_subcommand("plan", "Which device would do what for a request, and what it would cost");
  plan->add_option("--soc", arguments.soc, "A machine; `lem-sim socs` lists them")->required();
  plan->add_option("--model", arguments.model, "A model; `lem-sim models` lists them")->required();
  plan->add_option("--quant", arguments.quant, "Format of its weights")->capture_default_str();
  plan->add_option("--prompt-tokens", arguments.request.prompt_tokens, "Tokens of the prompt")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, kMaxTokens));
  plan->add_option("--max-tokens", arguments.request.max_tokens, "Tokens of the answer")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, kMaxTokens));
  plan->add_option("--batch", arguments.request.batch, "Answers that are decoded together")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1024}));
  plan->add_option("--objective", arguments.goal, "latency, energy or balanced")->capture_default_str();
  plan->add_option("--power", arguments.power, "Whose watts: rail, package or board; default: as published");
  plan->add_option("--max-ttft-ms", arguments.max_ttft_ms, "Limit on the time to the first token; 0 = none")
      ->check(CLI::Range(0.0, 1e9));
  plan->add_option("--max-tpot-ms", arguments.max_tpot_ms, "Limit on the time of a token; 0 = none")
      ->check(CLI::Range(0.0, 1e9));
  return plan;
}

int Main(int argc, char** argv) {
  CLI::App app("Plans for machines that one does not own. Everything is predicted; nothing runs.", "lem-sim");
  app.require_subcommand(1);
  bool json = false;
  PlanArguments plan_arguments;
  const CLI::App* const plan = AddPlan(app, plan_arguments);
  CLI::App* const points = app.add_subcommand("points", "Predicted speeds beside published ones");
  std::filesystem::path file;
  points->add_option("FILE", file, "Rows in the form of data/llm_points.csv; default: that table");
  CLI::App* const regret = app.add_subcommand("regret", "What it costs that true speeds are not those believed");
  RegretOptions regret_options;
  regret->add_option("--cases", regret_options.num_cases, "Random machines, models and requests")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000));
  regret->add_option("--steps", regret_options.num_steps, "Plans run and learned from in each case")
      ->capture_default_str()
      ->check(CLI::Range(1, 10'000));
  regret->add_option("--seed", regret_options.seed, "Of the random cases")->capture_default_str();
  regret->add_option("--perturbation", regret_options.perturbation, "How far off true times are")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 0.9));
  const CLI::App* const socs = app.add_subcommand("socs", "Machines that plans can be made for");
  const CLI::App* const models = app.add_subcommand("models", "Models and formats of weights");
  for (CLI::App* const command : app.get_subcommands({})) command->add_flag("--json", json, "Print JSON");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  const Status status = *plan     ? RunPlan(plan_arguments, json)
                        : *points ? RunPoints(file, json)
                        : *regret ? RunRegret(regret_options, json)
                        : *socs   ? ListSocs(json)
                        : *models ? ListModels(json)
                                  : OkStatus();
  if (status.ok()) return 0;
  fmt::print(stderr, "lem-sim: {}\n", status.message());
  return 1;
}

}  // namespace
}  // namespace lem

int main(int argc, char** argv) {
  try {
    return lem::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lem-sim: %s\n", error.what());
    return 1;
  }
}
