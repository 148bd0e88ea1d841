#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem {
namespace {

using testing::HasSubstr;

TEST(MetricsTest, ObservesTimesInSeconds) {
  Metrics metrics;
  metrics.ObserveFirstToken(std::chrono::milliseconds(1500));
  metrics.ObserveTokenGap(std::chrono::milliseconds(3));
  metrics.ObserveAnswer(std::chrono::seconds(30));
  const std::string text = metrics.Text({}, 0);
  EXPECT_THAT(text, HasSubstr("lem_time_to_first_token_seconds_sum 1.5"));
  EXPECT_THAT(text, HasSubstr("lem_time_to_first_token_seconds_bucket{le=\"1\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("lem_time_to_first_token_seconds_bucket{le=\"2\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("lem_inter_token_latency_seconds_count 1\n"));
  EXPECT_THAT(text, HasSubstr("lem_answer_duration_seconds_sum 30"));
}

TEST(MetricsTest, CountsByRouteAndStatus) {
  Metrics metrics;
  metrics.CountRequest("/v1/models/{id*}", 200);
  metrics.CountRequest("/v1/models/{id*}", 200);
  metrics.CountRequest("", 404);
  const std::string text = metrics.Text({}, 3);
  EXPECT_THAT(text, HasSubstr("lem_http_requests_total{route=\"/v1/models/{id*}\",status=\"200\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("lem_http_requests_total{route=\"none\",status=\"404\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("lem_http_connections 3\n"));
}

TEST(MetricsTest, CarriesOverWhatTheServiceCounts) {
  Metrics metrics;
  ServiceStats stats;
  stats.generated_tokens_total = 17;
  stats.kv_blocks_used = 4;
  stats.predictions = {{"cpu", "decode", 12, 2.5, 2, 0.125}};
  stats.joules_total = {{"package", 42}};
  const std::string first = metrics.Text(stats, 0);
  EXPECT_THAT(first, HasSubstr("lem_prediction_error_ratio{device=\"cpu\",phase=\"decode\"} 0.125\n"));
  EXPECT_THAT(first, HasSubstr("lem_step_measured_seconds_total{device=\"cpu\",phase=\"decode\"} 2.5\n"));
  EXPECT_THAT(first, HasSubstr("lem_energy_joules_total{source=\"package\"} 42\n"));
  EXPECT_THAT(metrics.Text(stats, 0),
              HasSubstr("# TYPE lem_generated_tokens_total counter\nlem_generated_tokens_total 17\n"));
  stats.generated_tokens_total = 20;
  stats.kv_blocks_used = 0;
  const std::string text = metrics.Text(stats, 0);
  EXPECT_THAT(text, HasSubstr("lem_generated_tokens_total 20\n"));
  EXPECT_THAT(text, HasSubstr("lem_kv_blocks_used 0\n"));
}

}  // namespace
}  // namespace lem
