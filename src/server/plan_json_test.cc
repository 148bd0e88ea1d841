#include "server/plan_json.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace lem {
namespace {

TEST(PlanJsonTest, TheHeaderListsThePlanOfEachChoice) {
  EXPECT_EQ(PlanHeader({}), "");
  EXPECT_EQ(PlanHeader(std::vector<PlanSummary>(2)), "") << "a service that does not plan";
  const std::vector<PlanSummary> plans = {{7, "all cpu", "cpu", "cpu", 12.5, 3},
                                          {8, "prefill all npu; decode all cpu", "npu", "cpu", 0, 0}};
  EXPECT_EQ(PlanHeader(plans),
            R"(7;placement="all cpu";prefill="cpu";decode="cpu";predicted-prefill-ms=12.500;predicted-token-ms=3.000, )"
            R"(8;placement="prefill all npu; decode all cpu";prefill="npu";decode="cpu")");
}

TEST(PlanJsonTest, TracesHaveATrackForEachDeviceAndOneForItsPrediction) {
  const std::vector<TraceSpan> spans = {
      {.device = "vulkan:0",
       .model = "m",
       .phase = "prefill",
       .begin_us = 10,
       .measured_ms = 2,
       .predicted_ms = 3,
       .rows = 64,
       .sequences = 1},
      {.device = "cpu",
       .model = "m",
       .phase = "decode",
       .begin_us = 2010,
       .measured_ms = 1,
       .predicted_ms = 0,
       .rows = 2,
       .sequences = 2},
  };
  const Result<JsonValue> json = ParseJson(ChromeTraceJson(spans));
  ASSERT_TRUE(json.ok()) << json.status().ToString();
  int num_measured = 0, num_predicted = 0, num_names = 0;
  for (const JsonValue& event : json->at("traceEvents").as_array()) {
    if (event.at("ph").as_string() == "M") {
      ++num_names;
      continue;
    }
    if (event.at("pid").to_number<int>() == 1) {
      ++num_measured;
      continue;
    }
    ++num_predicted;
    EXPECT_EQ(event.at("name").as_string(), "prefill 64");
    EXPECT_EQ(event.at("ts").to_number<int>(), 10);
    EXPECT_EQ(event.at("dur").to_number<double>(), 3000);
  }
  EXPECT_EQ(num_measured, 2);
  EXPECT_EQ(num_predicted, 1) << "of what nobody can predict there is no span";
  EXPECT_EQ(num_names, 2 + 2 * 2);
}

}  // namespace
}  // namespace lem
