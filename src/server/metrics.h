// What the server counts for GET /metrics, in Prometheus' text format. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/inference_service.h"

namespace lem {

// A histogram of seconds. The bounds double or so from 1 ms to 2 minutes: fine for tokens, coarse enough for answers.
class SecondsHistogram {
 public:
  static constexpr std::array<double, 17> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                     1,     2.5,    5,     10,   20,    30,   60,  120};

  void Observe(std::chrono::nanoseconds value);
  void Write(std::string_view name, std::string_view help, std::string& out) const;

 private:
  std::array<std::atomic<uint64_t>, kBounds.size() + 1> buckets_{};  // the last one: above all bounds
  std::atomic<uint64_t> sum_ns_{0};
};

class Metrics {
 public:
  SecondsHistogram time_to_first_token;
  SecondsHistogram inter_token_latency;
  SecondsHistogram answer_duration;

  // `route` is a pattern of the router, or empty; never the client's own path, which would make a series a request.
  void CountRequest(std::string_view route, int http_status);

  std::string Write(const ServiceStats& stats, size_t num_connections) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, uint64_t> requests_;  // guarded by mutex_
};

}  // namespace lem
