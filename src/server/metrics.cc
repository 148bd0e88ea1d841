#include "server/metrics.h"

#include <algorithm>
#include <utility>

#include "server/load_report.h"

namespace lem {
namespace {

double Seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

// vLLM's names, by which gateways choose among servers, of what has our names above. The same lines, so the same
// numbers.
constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
    {"lem_generations_running", "vllm:num_requests_running"},
    {"lem_generations_waiting", "vllm:num_requests_waiting"},
    {"lem_generations_interrupted_total", "vllm:num_preemptions_total"},
    {"lem_kv_cache_usage_ratio", "vllm:kv_cache_usage_perc"},
    {"lem_kv_cache_usage_ratio", "vllm:gpu_cache_usage_perc"},
    {"lem_prompt_tokens_total", "vllm:prompt_tokens_total"},
    {"lem_generated_tokens_total", "vllm:generation_tokens_total"},
    {"lem_prompt_tokens_total", "vllm:prefix_cache_queries_total"},
    {"lem_cached_prompt_tokens_total", "vllm:prefix_cache_hits_total"},
    {"lem_time_to_first_token_seconds", "vllm:time_to_first_token_seconds"},
    {"lem_inter_token_latency_seconds", "vllm:inter_token_latency_seconds"},
    {"lem_inter_token_latency_seconds", "vllm:time_per_output_token_seconds"},
    {"lem_answer_duration_seconds", "vllm:e2e_request_latency_seconds"},
};

// The lines of one metric in a text of many: from "# HELP name " to the next metric.
std::string_view LinesOf(std::string_view text, std::string_view name) {
  const size_t begin = text.find("# HELP " + std::string(name) + ' ');
  if (begin == std::string_view::npos) return {};
  const size_t end = text.find("\n# HELP ", begin);
  return text.substr(begin, end == std::string_view::npos ? end : end + 1 - begin);
}

std::string WithAliases(const std::string& text) {
  std::string aliases;
  for (const auto& [name, alias] : kAliases) {
    std::string lines(LinesOf(text, name));
    for (size_t at = 0; (at = lines.find(name, at)) != std::string::npos; at += alias.size()) {
      lines.replace(at, name.size(), alias);
    }
    aliases += lines;
  }
  return text + aliases;
}

}  // namespace

Metrics::Metrics()
    : first_token_(registry_.AddHistogram("lem_time_to_first_token_seconds",
                                          "From a request's header to the first token of its answer",
                                          LatencyBucketsS())),
      token_gap_(registry_.AddHistogram("lem_inter_token_latency_seconds", "Between two tokens of a generation",
                                        LatencyBucketsS())),
      answer_(registry_.AddHistogram("lem_answer_duration_seconds", "From a request's header to the end of its answer",
                                     LatencyBucketsS())) {}

void Metrics::ObserveFirstToken(std::chrono::nanoseconds time) const { first_token_.Observe(Seconds(time)); }
void Metrics::ObserveTokenGap(std::chrono::nanoseconds time) const { token_gap_.Observe(Seconds(time)); }
void Metrics::ObserveAnswer(std::chrono::nanoseconds time) const { answer_.Observe(Seconds(time)); }

void Metrics::CountRequest(std::string_view route, int http_status) {
  registry_
      .AddCounter("lem_http_requests_total", "Answered HTTP requests; status 0: the client went first",
                  {{"route", route.empty() ? "none" : std::string(route)}, {"status", std::to_string(http_status)}})
      .Increment();
}

std::string Metrics::Text(const ServiceStats& stats, size_t num_connections) {
  const std::lock_guard lock(mutex_);
  const auto counter = [&](std::string_view name, std::string_view help, uint64_t total) {
    const Counter metric = registry_.AddCounter(name, help);
    metric.Increment(std::max(0.0, static_cast<double>(total) - metric.value()));
  };
  const auto gauge = [&](std::string_view name, std::string_view help, auto value) {
    registry_.AddGauge(name, help).Set(static_cast<double>(value));
  };
  gauge("lem_http_connections", "Open connections", num_connections);
  counter("lem_generations_total", "Generations that were queued", stats.requests_total);
  counter("lem_generations_failed_total", "Generations that ended with an error", stats.requests_failed);
  counter("lem_handovers_total", "Answers that moved to devices of other numerics", stats.handovers_total);
  counter("lem_generations_cancelled_total", "Generations whose client went or had enough", stats.requests_cancelled);
  gauge("lem_generations_running", "Generations that hold KV blocks", stats.running);
  gauge("lem_generations_waiting", "Generations in the queue", stats.waiting);
  counter("lem_prompt_tokens_total", "Prompt tokens of finished generations", stats.prompt_tokens_total);
  counter("lem_generated_tokens_total", "Tokens of finished generations", stats.generated_tokens_total);
  counter("lem_engine_steps_total", "Steps of the engine", stats.steps_total);
  gauge("lem_kv_blocks", "KV cache blocks there are", stats.kv_blocks_total);
  gauge("lem_kv_blocks_used", "KV cache blocks in use", stats.kv_blocks_used);
  gauge("lem_kv_blocks_cached", "KV cache blocks that hold known prompts and are in nobody's use",
        stats.kv_blocks_cached);
  gauge("lem_kv_cache_usage_ratio", "Used KV cache blocks of those there are", KvCacheUsage(stats));
  counter("lem_cached_prompt_tokens_total", "Prompt tokens of finished generations that were not computed again",
          stats.cached_tokens_total);
  counter("lem_guessed_tokens_total",
          "Tokens of finished generations that were computed before they were known to follow",
          stats.guessed_tokens_total);
  counter("lem_generations_interrupted_total", "Times a generation gave way to others and went on later",
          stats.interrupted_total);
  for (const MovedBytes& moved : stats.moved_bytes) {
    const Counter metric =
        registry_.AddCounter("lem_memory_moved_bytes_total", "Bytes moved between memories",
                             {{"device", moved.device}, {"direction", moved.direction}, {"cause", moved.cause}});
    metric.Increment(std::max(0.0, static_cast<double>(moved.bytes) - metric.value()));
  }
  for (const PredictionStats& known : stats.predictions) {
    const MetricLabels labels{{"device", known.device}, {"phase", known.phase}};
    const auto add_up = [&](std::string_view name, std::string_view help, double value) {
      const Counter metric = registry_.AddCounter(name, help, labels);
      metric.Increment(std::max(0.0, value - metric.value()));
    };
    add_up("lem_predicted_steps_total", "Parts of steps whose time was predicted and measured",
           static_cast<double>(known.steps));
    add_up("lem_step_measured_seconds_total", "Measured time of them", known.measured_seconds);
    add_up("lem_step_predicted_seconds_total", "Predicted time of them", known.predicted_seconds);
    registry_
        .AddGauge("lem_prediction_error_ratio", "Mean of |predicted / measured - 1| over the latest of them", labels)
        .Set(known.error);
  }
  for (const auto& [source, joules] : stats.joules_total) {
    const Counter metric =
        registry_.AddCounter("lem_energy_joules_total", "Energy of finished generations", {{"source", source}});
    metric.Increment(std::max(0.0, joules - metric.value()));
  }
  return WithAliases(registry_.Text());
}

}  // namespace lem
