#include "server/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace lem {
namespace {

void WriteHead(std::string_view name, std::string_view type, std::string_view help, std::string& out) {
  fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

template <typename Value>
void WriteOne(std::string_view name, std::string_view type, std::string_view help, Value value, std::string& out) {
  WriteHead(name, type, help, out);
  fmt::format_to(std::back_inserter(out), "{} {}\n", name, value);
}

}  // namespace

void SecondsHistogram::Observe(std::chrono::nanoseconds value) {
  const double seconds = std::chrono::duration<double>(value).count();
  const auto bucket = std::ranges::lower_bound(kBounds, seconds) - kBounds.begin();
  buckets_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_ns_.fetch_add(static_cast<uint64_t>(std::max<int64_t>(value.count(), 0)), std::memory_order_relaxed);
}

void SecondsHistogram::Write(std::string_view name, std::string_view help, std::string& out) const {
  WriteHead(name, "histogram", help, out);
  const auto append = std::back_inserter(out);
  uint64_t count = 0;
  for (size_t i = 0; i < kBounds.size(); ++i) {
    count += buckets_[i].load(std::memory_order_relaxed);
    fmt::format_to(append, "{}_bucket{{le=\"{}\"}} {}\n", name, kBounds[i], count);
  }
  count += buckets_.back().load(std::memory_order_relaxed);
  fmt::format_to(append, "{}_bucket{{le=\"+Inf\"}} {}\n", name, count);
  fmt::format_to(append, "{}_sum {}\n", name, static_cast<double>(sum_ns_.load(std::memory_order_relaxed)) * 1e-9);
  fmt::format_to(append, "{}_count {}\n", name, count);
}

void Metrics::CountRequest(std::string_view route, int http_status) {
  const std::lock_guard lock(mutex_);
  ++requests_[{std::string(route.empty() ? "none" : route), http_status}];
}

std::string Metrics::Write(const ServiceStats& stats, size_t num_connections) const {
  std::string out;
  WriteHead("lem_http_requests_total", "counter", "Answered HTTP requests; status 0: the client went first.", out);
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, count] : requests_) {
      fmt::format_to(std::back_inserter(out), "lem_http_requests_total{{route=\"{}\",status=\"{}\"}} {}\n", key.first,
                     key.second, count);
    }
  }
  const auto counter = [&](std::string_view name, std::string_view help, uint64_t value) {
    WriteOne(name, "counter", help, value, out);
  };
  const auto gauge = [&](std::string_view name, std::string_view help, auto value) {
    WriteOne(name, "gauge", help, value, out);
  };
  gauge("lem_http_connections", "Open connections.", num_connections);
  counter("lem_generations_total", "Generations that were queued.", stats.requests_total);
  counter("lem_generations_failed_total", "Generations that ended with an error.", stats.requests_failed);
  counter("lem_generations_cancelled_total", "Generations whose client went or had enough.", stats.requests_cancelled);
  gauge("lem_generations_running", "Generations that hold KV blocks.", stats.running);
  gauge("lem_generations_waiting", "Generations in the queue.", stats.waiting);
  counter("lem_prompt_tokens_total", "Prompt tokens of finished generations.", stats.prompt_tokens_total);
  counter("lem_generated_tokens_total", "Tokens of finished generations.", stats.generated_tokens_total);
  counter("lem_engine_steps_total", "Steps of the engine.", stats.steps_total);
  gauge("lem_kv_blocks", "KV cache blocks there are.", stats.kv_blocks_total);
  gauge("lem_kv_blocks_used", "KV cache blocks in use.", stats.kv_blocks_used);
  time_to_first_token.Write("lem_time_to_first_token_seconds", "From a request's header to its first token.", out);
  inter_token_latency.Write("lem_inter_token_latency_seconds", "Between two tokens of a generation.", out);
  answer_duration.Write("lem_answer_duration_seconds", "From a request's header to the end of its answer.", out);
  return out;
}

}  // namespace lem
