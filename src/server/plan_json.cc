#include "server/plan_json.h"

#include <algorithm>

#include "base/json.h"

namespace lem {
namespace {

void WriteNumberOrNull(JsonWriter& out, double value) { value > 0 ? out.Double(value) : out.Null(); }

// `unit`: what the times are of, "ms" or "ms_per_token".
void WritePhase(JsonWriter& out, const PlannedPhase& phase, std::string_view unit) {
  out.BeginObject().Key("device").String(phase.devices);
  WriteNumberOrNull(out.Key(fmt::format("predicted_{}", unit)), phase.predicted_ms);
  WriteNumberOrNull(out.Key(fmt::format("measured_{}", unit)), phase.measured_ms);
  out.Key("moved_bytes").Double(phase.moved_bytes).EndObject();
}

void WritePlan(JsonWriter& out, const PlanInfo& plan) {
  out.BeginObject().Key("id").UInt(plan.id).Key("request_id").String(plan.request_id).Key("model").String(plan.model);
  out.Key("state").String(plan.state).Key("placement").String(plan.placement);
  out.Key("chosen_by").String(plan.chosen_by).Key("objective").String(plan.goal);
  out.Key("being_opened");
  plan.being_opened.empty() ? out.Null() : out.String(plan.being_opened);
  out.Key("prompt_tokens").Int(plan.prompt_tokens).Key("max_tokens").Int(plan.max_tokens);
  out.Key("generated_tokens").Int(plan.generated_tokens).Key("moves").Int(plan.moves);
  WritePhase(out.Key("prefill"), plan.prefill, "ms");
  WritePhase(out.Key("decode"), plan.decode, "ms_per_token");
  WriteNumberOrNull(out.Key("predicted_joules"), plan.predicted_joules);
  WriteNumberOrNull(out.Key("joules"), plan.joules);
  out.Key("joules_source").String(plan.energy_source).Key("solve_ms").Double(plan.solve_ms);
  out.Key("alternatives").BeginArray();
  for (const PlanAlternative& other : plan.alternatives) {
    out.BeginObject().Key("placement").String(other.placement).Key("predicted_ms").Double(other.predicted_ms);
    out.Key("lost_because").String(other.lost_because).EndObject();
  }
  out.EndArray().EndObject();
}

}  // namespace

std::string PlanHeader(std::span<const PlanSummary> plans) {
  std::string header;
  for (const PlanSummary& plan : plans) {
    if (plan.id == 0) continue;
    if (!header.empty()) header += ", ";
    header += fmt::format(R"({};placement="{}";prefill="{}";decode="{}")", plan.id, plan.placement,
                          plan.prefill_devices, plan.decode_devices);
    if (plan.predicted_first_token_ms > 0) {
      header += fmt::format(";predicted-prefill-ms={:.3f};predicted-token-ms={:.3f}", plan.predicted_first_token_ms,
                            plan.predicted_token_ms);
    }
  }
  return header;
}

std::string PlansJson(const InferenceService& service) {
  JsonWriter out;
  out.BeginObject().Key("plans").BeginArray();
  for (const PlanInfo& plan : service.Plans()) WritePlan(out, plan);
  out.EndArray().Key("routes").BeginArray();
  for (const RouteStatus& route : service.Routes()) {
    out.BeginObject().Key("model").String(route.model).Key("placement").String(route.placement);
    out.Key("state").String(route.state);
    if (!route.error.empty()) out.Key("error").String(route.error);
    out.EndObject();
  }
  out.EndArray().Key("predictions").BeginArray();
  for (const PredictionStats& stats : service.Stats().predictions) {
    out.BeginObject().Key("device").String(stats.device).Key("phase").String(stats.phase);
    out.Key("steps").UInt(stats.steps).Key("measured_s").Double(stats.measured_seconds);
    out.Key("predicted_s").Double(stats.predicted_seconds).Key("error").Double(stats.error).EndObject();
  }
  return out.EndArray().EndObject().Take();
}

std::string ChromeTraceJson(std::span<const TraceSpan> spans) {
  constexpr int kMeasured = 1, kPredicted = 2;
  JsonWriter out;
  out.BeginObject().Key("displayTimeUnit").String("ms").Key("traceEvents").BeginArray();
  const auto name = [&out](std::string_view what, int process, size_t thread, std::string_view value) {
    out.BeginObject().Key("ph").String("M").Key("name").String(what).Key("pid").Int(process);
    out.Key("tid").UInt(thread).Key("args").BeginObject().Key("name").String(value).EndObject().EndObject();
  };
  name("process_name", kMeasured, 0, "measured");
  name("process_name", kPredicted, 0, "predicted");
  std::vector<std::string> devices;
  for (const TraceSpan& span : spans) {
    const auto known = std::ranges::find(devices, span.device);
    const auto thread = static_cast<size_t>(known - devices.begin()) + 1;
    if (known == devices.end()) {
      devices.push_back(span.device);
      for (const int process : {kMeasured, kPredicted}) name("thread_name", process, thread, span.device);
    }
    for (const int process : {kMeasured, kPredicted}) {
      const double ms = process == kMeasured ? span.measured_ms : span.predicted_ms;
      if (process == kPredicted && !(ms > 0)) continue;
      out.BeginObject().Key("ph").String("X").Key("pid").Int(process).Key("tid").UInt(thread);
      out.Key("name").String(fmt::format("{} {}", span.phase, span.rows)).Key("cat").String(span.model);
      out.Key("ts").Int(span.begin_us).Key("dur").Double(ms * 1e3).Key("args").BeginObject();
      out.Key("rows").Int(span.rows).Key("sequences").Int(span.sequences);
      out.Key("measured_ms").Double(span.measured_ms);
      WriteNumberOrNull(out.Key("predicted_ms"), span.predicted_ms);
      out.Key("exact").Bool(span.exact).EndObject().EndObject();
    }
  }
  return out.EndArray().EndObject().Take();
}

}  // namespace lem
