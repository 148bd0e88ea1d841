#include "telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <sstream>

#include "base/check.h"

namespace lem {
namespace {

enum class Kind { kCounter, kGauge, kHistogram };

// [a-zA-Z_:][a-zA-Z0-9_:]*
bool IsMetricName(std::string_view name) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
  };
  return !name.empty() && is_letter(name.front()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

prometheus::Labels ToPrometheus(const MetricLabels& labels) { return {labels.begin(), labels.end()}; }

}  // namespace

void Counter::Increment(double by) const { counter_->Increment(by); }
double Counter::value() const { return counter_->Value(); }
void Gauge::Set(double value) const { gauge_->Set(value); }
void Gauge::Add(double by) const { gauge_->Increment(by); }
double Gauge::value() const { return gauge_->Value(); }
void Histogram::Observe(double value) const { histogram_->Observe(value); }

std::vector<double> LatencyBucketsS() {
  return {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300};
}

struct MetricsRegistry::Impl {
  // REQUIRES: mutex held.
  void CheckKind(std::string_view name, std::string_view help, Kind kind) {
    LEM_CHECK(IsMetricName(name)) << name;
    const auto [known, is_new] = kinds.try_emplace(std::string(name), kind, std::string(help));
    LEM_CHECK(is_new || (known->second.first == kind && known->second.second == help)) << name;
  }

  prometheus::Registry registry;
  std::mutex mutex;
  std::map<std::string, std::pair<Kind, std::string>> kinds;  // by name: kind and help
};

MetricsRegistry::MetricsRegistry() : impl_(std::make_unique<Impl>()) {}
MetricsRegistry::~MetricsRegistry() = default;

Counter MetricsRegistry::AddCounter(std::string_view name, std::string_view help, const MetricLabels& labels) {
  const std::lock_guard lock(impl_->mutex);
  impl_->CheckKind(name, help, Kind::kCounter);
  auto& family = prometheus::BuildCounter().Name(std::string(name)).Help(std::string(help)).Register(impl_->registry);
  return Counter(&family.Add(ToPrometheus(labels)));
}

Gauge MetricsRegistry::AddGauge(std::string_view name, std::string_view help, const MetricLabels& labels) {
  const std::lock_guard lock(impl_->mutex);
  impl_->CheckKind(name, help, Kind::kGauge);
  auto& family = prometheus::BuildGauge().Name(std::string(name)).Help(std::string(help)).Register(impl_->registry);
  return Gauge(&family.Add(ToPrometheus(labels)));
}

Histogram MetricsRegistry::AddHistogram(std::string_view name, std::string_view help,
                                        const std::vector<double>& upper_bounds, const MetricLabels& labels) {
  LEM_CHECK(std::adjacent_find(upper_bounds.begin(), upper_bounds.end(), std::greater_equal<>()) == upper_bounds.end())
      << name;
  const std::lock_guard lock(impl_->mutex);
  impl_->CheckKind(name, help, Kind::kHistogram);
  auto& family = prometheus::BuildHistogram().Name(std::string(name)).Help(std::string(help)).Register(impl_->registry);
  return Histogram(&family.Add(ToPrometheus(labels), upper_bounds));
}

std::string MetricsRegistry::Text() const {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, impl_->registry.Collect());
  return std::move(out).str();
}

}  // namespace lem
