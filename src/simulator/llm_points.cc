#include "simulator/llm_points.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/check.h"
#include "base/embedded_file.h"
#include "scheduler/placement_search.h"
#include "simulator/csv.h"
#include "simulator/model_shapes.h"
#include "simulator/soc_profiles.h"

LEM_EMBED_FILE(kPublishedSpeeds, char, LEM_PUBLISHED_FOLDER "/llm_points.csv")

namespace lem {
namespace {

constexpr double kMaxContext = 1 << 24;

Result<LlmPoint> ReadPoint(const CsvTable& table, size_t row) {
  const auto text = [&](std::string_view column) { return std::string(table.Text(row, column)); };
  LlmPoint point{text("soc"), text("device"), text("engine"), text("model"), text("quant")};
  const std::string phase = text("phase");
  if (phase != "prefill" && phase != "decode") {
    return InvalidArgument("{}: phase is '{:.40}'; allowed: prefill, decode", table.Where(row), phase);
  }
  point.phase = phase == "prefill" ? Phase::kPrefill : Phase::kDecode;
  LEM_ASSIGN_OR_RETURN(const std::optional<double> context, table.Number(row, "context"));
  if (!context || *context < 1 || *context > kMaxContext) {
    return InvalidArgument("{}: context is '{:.40}'; allowed: 1 to {} tokens", table.Where(row),
                           table.Text(row, "context"), kMaxContext);
  }
  point.context = static_cast<int64_t>(*context);
  LEM_ASSIGN_OR_RETURN(const std::optional<double> speed, table.Number(row, "tokens_per_s"));
  point.tokens_per_s = speed.value_or(0);
  point.fit = text("fit") == "1";
  return point;
}

Result<const DeviceProfile*> FindDevice(const MachineProfile& soc, std::string_view name) {
  const std::string_view kind = name == "igpu" || name == "dgpu" ? "gpu" : name;
  const auto found = std::ranges::find_if(
      soc.devices, [&](const DeviceProfile& device) { return device.id == name || device.kind == kind; });
  if (found != soc.devices.end()) return &*found;
  std::vector<std::string> names;
  names.reserve(soc.devices.size());
  for (const DeviceProfile& device : soc.devices) names.push_back(fmt::format("{} ({})", device.kind, device.id));
  return NotFound("SoC '{}' has no device '{}'; it has {}", soc.id, name, fmt::join(names, ", "));
}

}  // namespace

Result<std::vector<LlmPoint>> ParseLlmPoints(std::string_view csv, std::string_view file_name) {
  LEM_ASSIGN_OR_RETURN(const CsvTable table, CsvTable::Parse(csv, std::string(file_name),
                                                             {"soc", "device", "model", "quant", "phase", "context"}));
  std::vector<LlmPoint> points;
  for (size_t row = 0; row < table.num_rows(); ++row) {
    LEM_ASSIGN_OR_RETURN(points.emplace_back(), ReadPoint(table, row));
  }
  return points;
}

const std::vector<LlmPoint>& KnownLlmPoints() {
  static const std::vector<LlmPoint> kPoints = [] {
    const std::string_view csv(kPublishedSpeeds, static_cast<size_t>(kPublishedSpeedsEnd - kPublishedSpeeds));
    Result<std::vector<LlmPoint>> parsed = ParseLlmPoints(csv, "llm_points.csv");
    LEM_CHECK(parsed.ok()) << parsed.status().message();
    return *std::move(parsed);
  }();
  return kPoints;
}

Result<LlmSpeed> PredictLlmSpeed(const LlmPoint& point) {
  LEM_ASSIGN_OR_RETURN(const MachineProfile* soc, FindSoc(point.soc));
  LEM_ASSIGN_OR_RETURN(const DeviceProfile* device, FindDevice(*soc, point.device));
  LEM_ASSIGN_OR_RETURN(const ModelShape* shape, FindModelShape(point.model));
  LEM_ASSIGN_OR_RETURN(const QuantBits* quant, FindQuant(point.quant));
  MachineProfile alone = *soc;
  alone.devices = {*device};
  LEM_ASSIGN_OR_RETURN(const CostModel costs, CostModel::Create(alone));
  const RequestShape request{.prompt_tokens = point.context};
  LEM_ASSIGN_OR_RETURN(const PlanDecision decision, SearchPlacement(costs, WorkOfShape(*shape, *quant), request));
  const bool prefill = point.phase == Phase::kPrefill;
  const PhasePlan& phase = prefill ? decision.best.prefill : decision.best.decode;
  const double tokens = prefill ? static_cast<double>(point.context) : 1;
  return LlmSpeed{tokens / phase.ms * 1e3, phase.joules / tokens, std::string(PowerSourceName(costs.power().source)),
                  device->guesses};
}

}  // namespace lem
