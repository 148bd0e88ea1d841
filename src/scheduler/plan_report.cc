#include "scheduler/plan_report.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/json.h"

namespace lem {
namespace {

double TokensOf(const PhasePlan& plan, const PlanReport& report, bool prefill) {
  return prefill ? static_cast<double>(report.request.prompt_tokens)
                 : static_cast<double>(plan.steps * report.request.batch);
}

void WritePhase(JsonWriter& out, const PhasePlan& plan, const PlanReport& report, bool prefill) {
  const double tokens = TokensOf(plan, report, prefill);
  out.BeginObject().Key("device").String(KindsOf(report.costs, plan));
  out.Key("ms").Double(plan.ms).Key("ms_p90").Double(plan.ms_p90);
  out.Key("joules");
  report.costs.power().known ? out.Double(plan.joules) : out.Null();
  out.Key("tokens_per_s").Double(tokens / plan.ms * 1e3);
  out.Key("chunk_tokens").Int(plan.chunk_tokens).Key("steps").Int(plan.steps);
  out.Key("work_ms").Double(plan.work_ms).Key("switch_ms").Double(plan.switch_ms).Key("wait_ms").Double(plan.wait_ms);
  out.Key("moved_bytes").Double(plan.moved_bytes);
  out.Key("devices").BeginArray();
  for (const DeviceShare& share : plan.shares) {
    const DeviceProfile& device = report.costs.device(share.device);
    out.BeginObject().Key("id").String(device.id).Key("kind").String(device.kind).Key("busy_ms").Double(share.busy_ms);
    out.Key("share_ms").Double(share.share_ms);
    out.EndObject();
  }
  out.EndArray().EndObject();
}

void WritePlan(JsonWriter& out, const RequestPlan& plan, const PlanReport& report) {
  out.Key("placement").String(FormatPlacement(plan.placement));
  out.Key("prefill");
  WritePhase(out, plan.prefill, report, true);
  out.Key("decode");
  WritePhase(out, plan.decode, report, false);
  out.Key("ms").Double(plan.ms()).Key("joules");
  report.costs.power().known ? out.Double(plan.joules()) : out.Null();
  out.Key("kv_bytes_moved").Double(plan.kv_bytes_moved).Key("meets_limits").Bool(plan.meets_limits);
}

std::string Device(const PlanReport& report, const PhasePlan& plan) {
  std::vector<std::string> ids;
  ids.reserve(plan.shares.size());
  for (const DeviceShare& share : plan.shares) {
    ids.push_back(
        fmt::format("{} {:.0f} %", report.costs.device(share.device).id, 100 * share.share_ms / plan.work_ms));
  }
  return fmt::format("{} ({})", KindsOf(report.costs, plan), fmt::join(ids, ", "));
}

// A letter for each device: of its id's first, or the next one that is free.
std::vector<char> DeviceLetters(const MachineProfile& machine) {
  std::vector<char> letters;
  for (const DeviceProfile& device : machine.devices) {
    char letter = device.id.empty() ? 'a' : device.id.front();
    while (std::ranges::find(letters, letter) != letters.end())
      letter = letter == 'z' ? 'a' : static_cast<char>(letter + 1);
    letters.push_back(letter);
  }
  return letters;
}

// Who runs what, a column for each layer.
std::string Drawing(const PlanReport& report) {
  const MachineProfile& machine = report.costs.machine();
  const std::vector<char> letters = DeviceLetters(machine);
  const auto letter = [&](int device) { return letters[static_cast<size_t>(device)]; };
  const int32_t num_layers = report.model.num_layers;
  std::string text = fmt::format("\n                    layers 0 to {}\n", num_layers - 1);
  const auto draw = [&](std::string_view phase, const Candidate& plan) {
    std::string attention, feed_forward;
    for (int32_t layer = 0; layer < num_layers; ++layer) {
      attention += letter(plan.AttentionOf(layer));
      feed_forward += letter(plan.FeedForwardOf(layer));
    }
    text += fmt::format("{:<8} attention   {}\n", phase, attention);
    text += fmt::format("         ffn         {}\n", feed_forward);
    text += fmt::format("         embedding {}, head {}", letter(plan.embedding()), letter(plan.head));
    if (plan.rows_device >= 0) {
      text +=
          fmt::format(", {:.0f} % of the rows of every matrix {}", 100 * plan.rows_fraction, letter(plan.rows_device));
    }
    text += "\n";
  };
  draw("prefill", report.decision.best.prefill_candidate);
  draw("decode", report.decision.best.decode_candidate);
  std::vector<std::string> legend;
  for (size_t i = 0; i < letters.size(); ++i) legend.push_back(fmt::format("{} {}", letters[i], machine.devices[i].id));
  return text + fmt::format("         ({})\n\n", fmt::join(legend, ", "));
}

std::string PhaseText(const PlanReport& report, std::string_view name, const PhasePlan& plan) {
  const bool prefill = name == "prefill";
  const double tokens = TokensOf(plan, report, prefill);
  std::string text = fmt::format("{:<8} {}\n", name, Device(report, plan));
  text += fmt::format("         {:.1f} ms (p90 {:.1f}): work {:.1f}, switches {:.1f}, waits {:.1f}; {:.1f} tokens/s",
                      plan.ms, plan.ms_p90, plan.work_ms, plan.switch_ms, plan.wait_ms, tokens / plan.ms * 1e3);
  if (report.costs.power().known) text += fmt::format("; {:.2f} J", plan.joules);
  if (prefill) text += fmt::format("; {} steps of {} tokens", plan.steps, plan.chunk_tokens);
  if (plan.moved_bytes > 0) text += fmt::format("; {:.1f} MB of activations moved", plan.moved_bytes * 1e-6);
  return text + "\n";
}

std::string PowerText(const CostModel& costs) {
  const PowerView& power = costs.power();
  if (!power.known) return "unknown";
  return fmt::format("{}{}", PowerSourceName(power.source), power.converted ? ", partly converted (modelled)" : "");
}

void WriteGuesses(JsonWriter& out, const MachineProfile& machine) {
  out.Key("guesses").BeginObject();
  for (const DeviceProfile& device : machine.devices) {
    if (device.guesses.empty()) continue;
    out.Key(device.id).BeginArray();
    for (const std::string& guess : device.guesses) out.String(guess);
    out.EndArray();
  }
  out.EndObject();
}

}  // namespace

std::string PlanJson(const PlanReport& report) {
  const MachineProfile& machine = report.costs.machine();
  JsonWriter out;
  out.BeginObject().Key("soc").String(machine.id).Key("model").String(report.model.name);
  out.Key("quant").String(report.quant);
  out.Key("prompt_tokens").Int(report.request.prompt_tokens).Key("max_tokens").Int(report.request.max_tokens);
  out.Key("objective").String(GoalName(report.decision.goal));
  WritePlan(out, report.decision.best, report);
  out.Key("power_source").String(PowerSourceName(report.costs.power().source));
  out.Key("power_converted").Bool(report.costs.power().converted);
  WriteGuesses(out, machine);
  out.Key("alternatives").BeginArray();
  for (const Alternative& alternative : report.decision.alternatives) {
    out.BeginObject();
    WritePlan(out, alternative.plan, report);
    out.Key("lost_because").String(alternative.lost_because).EndObject();
  }
  out.EndArray();
  out.Key("candidates").Int(report.decision.num_candidates).Key("solve_ms").Double(report.solve_ms).EndObject();
  return out.Take();
}

std::string PlanText(const PlanReport& report) {
  const PlanDecision& decision = report.decision;
  const MachineProfile& machine = report.costs.machine();
  std::string text = fmt::format("{}, {} {}, {} prompt tokens, {} new, objective {}, joules {}\n", machine.id,
                                 report.model.name, report.quant, report.request.prompt_tokens,
                                 report.request.max_tokens, GoalName(decision.goal), PowerText(report.costs));
  text += fmt::format("\nplacement  {}\n", FormatPlacement(decision.best.placement));
  text += Drawing(report);
  text += PhaseText(report, "prefill", decision.best.prefill) + PhaseText(report, "decode", decision.best.decode);
  if (decision.best.kv_bytes_moved > 0) {
    text += fmt::format("keys and values moved between the phases: {:.1f} MB\n", decision.best.kv_bytes_moved * 1e-6);
  }
  text += fmt::format("\nalternatives ({} candidates in {:.2f} ms)\n", decision.num_candidates, report.solve_ms);
  for (const Alternative& alternative : decision.alternatives) {
    text += fmt::format("  {:>10.1f} ms  {}\n                 {}\n", alternative.plan.ms(),
                        FormatPlacement(alternative.plan.placement), alternative.lost_because);
  }
  for (const DeviceProfile& device : machine.devices) {
    if (!device.guesses.empty()) {
      text += fmt::format("guessed for {}: {}\n", device.id, fmt::join(device.guesses, ", "));
    }
  }
  return text;
}

}  // namespace lem
