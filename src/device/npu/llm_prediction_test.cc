// The cost model of language-model graphs against published speeds.
#include "device/npu/llm_prediction.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lem {
namespace {

TEST(NpuLlmPredictionTest, PublishedSpeedsWithinBounds) {
  int count = 0;
  for (const PublishedLlm& point : PublishedLlms()) {
    if (!point.fit) continue;
    const Result<LlmPrediction> found = PredictLlm(point);
    ASSERT_TRUE(found.ok()) << found.status().ToString();
    const double bound = point.phase == "decode" ? 0.15 : 0.30;
    EXPECT_NEAR(found->tokens_per_s / point.tokens_per_s, 1, bound)
        << point.model << " " << point.phase << " at " << point.context;
    // Readings of the rail are 0.9 W in prefill and 1.2 to 1.6 W in decode.
    EXPECT_GT(found->rail_w, 0.5);
    EXPECT_LT(found->rail_w, 2.0);
    ++count;
  }
  EXPECT_EQ(count, 9);
}

TEST(NpuLlmPredictionTest, UnknownModelsAreNamed) {
  EXPECT_NE(PredictLlm({.model = "nobody-7B"}).status().message().find("nobody-7B"), std::string::npos);
}

}  // namespace
}  // namespace lem
