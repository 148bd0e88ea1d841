// What the server counts for GET /metrics. Thread-safe.
#pragma once

#include <chrono>
#include <mutex>
#include <string>
#include <string_view>

#include "runtime/inference_service.h"
#include "telemetry/metrics.h"

namespace lem {

class Metrics {
 public:
  Metrics();

  // From a request's header to its first token, between two tokens, from the header to the end of the answer.
  void ObserveFirstToken(std::chrono::nanoseconds time) const;
  void ObserveTokenGap(std::chrono::nanoseconds time) const;
  void ObserveAnswer(std::chrono::nanoseconds time) const;

  // `route` is a pattern of the router, or empty; never the client's own path, which would make a series a request.
  void CountRequest(std::string_view route, int http_status);

  // Everything, in Prometheus' text format.
  std::string Text(const ServiceStats& stats, size_t num_connections);

 private:
  MetricsRegistry registry_;
  const Histogram first_token_, token_gap_, answer_;
  std::mutex mutex_;  // of Text: what the service counts is carried over by one thread at a time
};

}  // namespace lem
