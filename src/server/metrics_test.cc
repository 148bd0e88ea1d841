#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>

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

// Value by name and labels.
std::map<std::string, std::string> ValuesOf(const std::string& text) {
  std::map<std::string, std::string> values;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('#')) continue;
    const size_t space = line.rfind(' ');
    EXPECT_TRUE(values.emplace(line.substr(0, space), line.substr(space + 1)).second) << line;
  }
  return values;
}

TEST(MetricsTest, NamesThatGatewaysKnowHaveTheSameNumbers) {
  Metrics metrics;
  metrics.ObserveFirstToken(std::chrono::milliseconds(1500));
  metrics.ObserveTokenGap(std::chrono::milliseconds(3));
  ServiceStats stats;
  stats.running = 3;
  stats.waiting = 7;
  stats.prompt_tokens_total = 100;
  stats.cached_tokens_total = 40;
  stats.generated_tokens_total = 17;
  stats.kv_blocks_total = 8;
  stats.kv_blocks_used = 2;
  metrics.Text(stats, 0);
  const auto values = ValuesOf(metrics.Text(stats, 0));
  EXPECT_EQ(values.at("vllm:num_requests_running"), "3");
  EXPECT_EQ(values.at("vllm:num_requests_waiting"), "7");
  EXPECT_EQ(values.at("vllm:kv_cache_usage_perc"), "0.25");
  EXPECT_EQ(values.at("vllm:gpu_cache_usage_perc"), "0.25");
  EXPECT_EQ(values.at("vllm:prompt_tokens_total"), "100");
  EXPECT_EQ(values.at("vllm:prefix_cache_hits_total"), "40");
  EXPECT_EQ(values.at("vllm:generation_tokens_total"), "17");
  EXPECT_EQ(values.at("vllm:time_to_first_token_seconds_bucket{le=\"2\"}"), "1");
  EXPECT_EQ(values.at("vllm:inter_token_latency_seconds_count"), "1");
  EXPECT_EQ(values.at("vllm:e2e_request_latency_seconds_count"), "0");
}

}  // namespace
}  // namespace lem
