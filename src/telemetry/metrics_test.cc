#include "telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace lem {
namespace {

using ::testing::HasSubstr;

TEST(MetricsTest, TextOfEachKind) {
  MetricsRegistry registry;
  registry.AddCounter("lem_requests_total", "Requests answered.", {{"route", "/v1/models"}, {"status", "200"}})
      .Increment(3);
  registry.AddGauge("lem_running", "Requests under way.").Set(2.5);
  const Histogram histogram = registry.AddHistogram("lem_ttft_seconds", "Time to first token.", {0.1, 1});
  histogram.Observe(0.1);
  histogram.Observe(0.5);
  histogram.Observe(7);
  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("# HELP lem_requests_total Requests answered.\n# TYPE lem_requests_total counter\n"
                              "lem_requests_total{route=\"/v1/models\",status=\"200\"} 3"));
  EXPECT_THAT(text, HasSubstr("# TYPE lem_running gauge\nlem_running 2.5"));
  EXPECT_THAT(text, HasSubstr("# TYPE lem_ttft_seconds histogram\n"));
  EXPECT_THAT(text, HasSubstr("lem_ttft_seconds_count 3"));
  EXPECT_THAT(text, HasSubstr("lem_ttft_seconds_sum 7.6"));
  EXPECT_THAT(text, HasSubstr("lem_ttft_seconds_bucket{le=\"0.1\"} 1"));
  EXPECT_THAT(text, HasSubstr("lem_ttft_seconds_bucket{le=\"1\"} 2"));
  EXPECT_THAT(text, HasSubstr("lem_ttft_seconds_bucket{le=\"+Inf\"} 3"));
}

TEST(MetricsTest, SameNameAndLabelsAreOneMetric) {
  MetricsRegistry registry;
  registry.AddCounter("lem_a_total", "A.", {{"x", "1"}}).Increment();
  registry.AddCounter("lem_a_total", "A.", {{"x", "2"}}).Increment();
  const Counter again = registry.AddCounter("lem_a_total", "A.", {{"x", "1"}});
  again.Increment();
  EXPECT_EQ(again.value(), 2);
  const std::string text = registry.Text();
  EXPECT_EQ(text.find("# HELP lem_a_total"), text.rfind("# HELP lem_a_total"));
}

TEST(MetricsTest, EscapesLabelValues) {
  MetricsRegistry registry;
  registry.AddGauge("lem_odd", "Odd.", {{"model", "a\"b\\c\nd"}}).Set(1);
  EXPECT_THAT(registry.Text(), HasSubstr("lem_odd{model=\"a\\\"b\\\\c\\nd\"} 1"));
}

TEST(MetricsTest, CountsFromManyThreads) {
  MetricsRegistry registry;
  const Counter counter = registry.AddCounter("lem_b_total", "B.");
  const Gauge gauge = registry.AddGauge("lem_c", "C.");
  const Histogram histogram = registry.AddHistogram("lem_d_seconds", "D.", LatencyBucketsS());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 1000; ++k) {
        counter.Increment();
        gauge.Add(1);
        histogram.Observe(0.003);
        if (k % 250 == 0) EXPECT_FALSE(registry.Text().empty());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 4000);
  EXPECT_EQ(gauge.value(), 4000);
  EXPECT_THAT(registry.Text(), HasSubstr("lem_d_seconds_bucket{le=\"0.005\"} 4000"));
}

TEST(MetricsDeathTest, ANameHasOneMeaning) {
  MetricsRegistry registry;
  registry.AddCounter("lem_e", "E.");
  EXPECT_DEATH(registry.AddGauge("lem_e", "E."), "lem_e");
  EXPECT_DEATH(registry.AddCounter("lem_e", "Other."), "lem_e");
  EXPECT_DEATH(registry.AddCounter("lem e", "E."), "lem e");
  EXPECT_DEATH(registry.AddHistogram("lem_f", "F.", {2, 1}), "lem_f");
}

}  // namespace
}  // namespace lem
