#include "server/load_report.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "base/json.h"

namespace lem {
namespace {

constexpr int kTokensABlock = 16;

}  // namespace

double KvCacheUsage(const ServiceStats& stats) {
  return stats.kv_blocks_total == 0
             ? 0
             : static_cast<double>(stats.kv_blocks_used) / static_cast<double>(stats.kv_blocks_total);
}

std::string LoadReport(const http::Request& request, const InferenceService& service) {
  const std::string_view form = request.headers.Get("endpoint-load-metrics-format");
  const bool is_json = http::EqualsIgnoreCase(form, "JSON");
  if (!is_json && !http::EqualsIgnoreCase(form, "TEXT")) return "";
  const ServiceStats stats = service.Stats();
  // vLLM's names, then Triton's.
  const std::pair<std::string_view, double> metrics[] = {
      {"kv_cache_usage_perc", KvCacheUsage(stats)},
      {"num_requests_running", stats.running},
      {"num_requests_waiting", stats.waiting},
      {"kv_cache_utilization", KvCacheUsage(stats)},
      {"max_token_capacity", static_cast<double>(stats.kv_blocks_total) * kTokensABlock},
  };
  if (is_json) {
    JsonWriter writer;
    writer.BeginObject().Key("named_metrics").BeginObject();
    for (const auto& [name, value] : metrics) writer.Key(name).Double(value);
    return "JSON " + writer.EndObject().EndObject().Take();
  }
  std::string text = "TEXT ";
  for (const auto& [name, value] : metrics) {
    text += fmt::format("{}named_metrics.{}={}", text.size() > 5 ? ", " : "", name, value);
  }
  return text;
}

}  // namespace lem
