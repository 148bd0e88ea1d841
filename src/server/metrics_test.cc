#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem {
namespace {

using testing::HasSubstr;

TEST(MetricsTest, HistogramsAreCumulative) {
  Metrics metrics;
  metrics.time_to_first_token.Observe(std::chrono::milliseconds(1));  // on a bound: in its bucket
  metrics.time_to_first_token.Observe(std::chrono::milliseconds(3));
  metrics.time_to_first_token.Observe(std::chrono::minutes(5));
  const std::string text = metrics.Write({}, 0);
  EXPECT_THAT(text, HasSubstr("# TYPE lem_time_to_first_token_seconds histogram\n"));
  EXPECT_THAT(text, HasSubstr("lem_time_to_first_token_seconds_bucket{le=\"0.001\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("lem_time_to_first_token_seconds_bucket{le=\"0.0025\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("lem_time_to_first_token_seconds_bucket{le=\"0.005\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("lem_time_to_first_token_seconds_bucket{le=\"120\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("lem_time_to_first_token_seconds_bucket{le=\"+Inf\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("lem_time_to_first_token_seconds_sum 300.004\n"));
  EXPECT_THAT(text, HasSubstr("lem_time_to_first_token_seconds_count 3\n"));
}

TEST(MetricsTest, WritesCountersByRouteAndStatus) {
  Metrics metrics;
  metrics.CountRequest("/v1/models/{id*}", 200);
  metrics.CountRequest("/v1/models/{id*}", 200);
  metrics.CountRequest("", 404);
  ServiceStats stats;
  stats.generated_tokens_total = 17;
  stats.kv_blocks_used = 4;
  const std::string text = metrics.Write(stats, 3);
  EXPECT_THAT(text, HasSubstr("lem_http_requests_total{route=\"/v1/models/{id*}\",status=\"200\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("lem_http_requests_total{route=\"none\",status=\"404\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE lem_generated_tokens_total counter\nlem_generated_tokens_total 17\n"));
  EXPECT_THAT(text, HasSubstr("lem_kv_blocks_used 4\n"));
  EXPECT_THAT(text, HasSubstr("lem_http_connections 3\n"));
}

}  // namespace
}  // namespace lem
