// Counters, gauges and histograms with labels, and their text for a Prometheus scrape.
//
// A registry owns its metrics; the handles below are pointers into it, cheap to copy, valid while it lives and safe to
// use from any thread. Get a handle once and keep it: looking one up takes a lock, using it takes at most an
// uncontended one (histograms) or an atomic add.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace lem {

// Label names and values. Values must come from a small set (models, routes, status codes), never straight from a
// client: each combination is kept for as long as the registry lives.
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// Only goes up.
class Counter {
 public:
  // REQUIRES: by >= 0.
  void Increment(double by = 1) const;
  double value() const;

 private:
  friend class MetricsRegistry;
  explicit Counter(prometheus::Counter* counter) : counter_(counter) {}
  prometheus::Counter* counter_;
};

class Gauge {
 public:
  void Set(double value) const;
  void Add(double by) const;
  double value() const;

 private:
  friend class MetricsRegistry;
  explicit Gauge(prometheus::Gauge* gauge) : gauge_(gauge) {}
  prometheus::Gauge* gauge_;
};

class Histogram {
 public:
  void Observe(double value) const;

 private:
  friend class MetricsRegistry;
  explicit Histogram(prometheus::Histogram* histogram) : histogram_(histogram) {}
  prometheus::Histogram* histogram_;
};

// Upper bounds for times in seconds from 1 ms to 5 min: steps of about 2, so a quantile is off by at most that.
std::vector<double> LatencyBucketsS();

class MetricsRegistry {
 public:
  MetricsRegistry();
  ~MetricsRegistry();
  MetricsRegistry(const MetricsRegistry&) = delete;
  MetricsRegistry& operator=(const MetricsRegistry&) = delete;

  // The metric of this name and labels, made if there is none yet. Our own are called lem_<what>_<unit>[_total]; a
  // gateway's aliases keep its names. REQUIRES: a valid Prometheus name; one kind, help (and bounds) for each name.
  Counter AddCounter(std::string_view name, std::string_view help, const MetricLabels& labels = {});
  Gauge AddGauge(std::string_view name, std::string_view help, const MetricLabels& labels = {});
  // `upper_bounds` rise strictly; +Inf is added.
  Histogram AddHistogram(std::string_view name, std::string_view help, const std::vector<double>& upper_bounds,
                         const MetricLabels& labels = {});

  // Everything in Prometheus text format 0.0.4; serve it as kTextContentType.
  std::string Text() const;
  static constexpr std::string_view kTextContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lem
