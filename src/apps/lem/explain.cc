// lem explain MODEL: which device would run which part for a request, why, and what it would take. Runs nothing.
#include <memory>

#include "apps/lem/commands.h"
#include "apps/lem/model_argument.h"
#include "apps/lem/terminal.h"
#include "base/file.h"
#include "runtime/profile/planner.h"
#include "scheduler/plan_report.h"

namespace lem {
namespace {

struct ExplainFlags {
  std::string model, objective = "latency";
  RequestShape request{.prompt_tokens = 512, .max_tokens = 128};
  bool virtual_clock = false, json = false;
};

Status Explain(const ExplainFlags& flags) {
  LEM_ASSIGN_OR_RETURN(const ModelRef reference, ResolveOrPull(flags.model));
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, LoadModel(reference.path));
  const DeviceClock clock = flags.virtual_clock ? DeviceClock::kVirtual : DeviceClock::kWall;
  LEM_ASSIGN_OR_RETURN(const MeasuredMachine machine, KnownMachine(ProfilesFolder(), clock));
  SearchOptions options;
  LEM_ASSIGN_OR_RETURN(options.goal, ParseGoal(flags.objective));
  LEM_ASSIGN_OR_RETURN(const ModelPlan plan, PlanRequest(machine, *model, flags.request, options));
  const PlanReport report{plan.costs, plan.work, flags.request, plan.decision, model->quantization, plan.solve_ms};
  PrintLine(stdout, flags.json ? PlanJson(report) : PlanText(report));
  return OkStatus();
}

}  // namespace

void RegisterExplain(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ExplainFlags>();  // shared by the parser and the action
  CLI::App* command = app.add_subcommand("explain", "Say which device would run which part of a request, and why");
  command->add_option("model", flags->model, "Name of a model (pulled if it is not here), or a .gguf file")->required();
  command->add_option("--prompt-tokens", flags->request.prompt_tokens, "Tokens of the prompt")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--max-tokens", flags->request.max_tokens, "Tokens of the answer")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--objective", flags->objective, "latency, energy or balanced")->capture_default_str();
  command->add_flag("--virtual", flags->virtual_clock,
                    "Take emulated devices at the speed that they are models of (emulated)");
  command->add_flag("--json", flags->json, "Print JSON");
  command->callback([flags, &action] { action = [flags] { return Finish(Explain(*flags)); }; });
}

}  // namespace lem
