#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace lem {
namespace {

class SamplerTest : public testing::Test {
 protected:
  int32_t SampleOnce(Sampler& sampler, std::vector<float> logits) {
    return sampler.Sample(logits, *GetKernelTable(Isa::kPortable), scratch_);
  }
  // Shares of tokens over many draws.
  std::map<int32_t, double> Shares(const SamplingParams& params, const std::vector<float>& logits, int draws = 20000) {
    Sampler sampler(params, 1, {});
    std::map<int32_t, double> shares;
    for (int i = 0; i < draws; ++i) shares[SampleOnce(sampler, logits)] += 1.0 / draws;
    return shares;
  }
  SamplerScratch scratch_;
};

// p = 0.5, 0.25, 0.15, 0.1
const std::vector<float> kLogits = {std::log(0.5f), std::log(0.25f), std::log(0.15f), std::log(0.1f)};

TEST_F(SamplerTest, GreedyTakesTheLikeliestAndTheLowestIdAmongEquals) {
  SamplingParams params{.temperature = 0};
  Sampler sampler(params, 1, {});
  EXPECT_EQ(SampleOnce(sampler, {1, 3, 2}), 1);
  EXPECT_EQ(SampleOnce(sampler, {3, 1, 3}), 0);
}

TEST_F(SamplerTest, PlainSamplingFollowsTheDistribution) {
  const auto shares = Shares({}, kLogits);
  EXPECT_NEAR(shares.at(0), 0.5, 0.02);
  EXPECT_NEAR(shares.at(1), 0.25, 0.02);
  EXPECT_NEAR(shares.at(3), 0.1, 0.02);
}

TEST_F(SamplerTest, TemperatureSharpens) {
  const auto shares = Shares({.temperature = 0.5f}, kLogits);  // squares: 0.25, 0.0625, 0.0225, 0.01 of 0.345
  EXPECT_NEAR(shares.at(0), 0.725, 0.02);
}

TEST_F(SamplerTest, FiltersKeepTheRightTokens) {
  EXPECT_EQ(Shares({.top_k = 2}, kLogits).size(), 2u);
  EXPECT_NEAR(Shares({.top_k = 2}, kLogits).at(0), 2.0 / 3, 0.02);
  EXPECT_EQ(Shares({.top_p = 0.74f}, kLogits).size(), 2u);
  EXPECT_EQ(Shares({.top_p = 0.76f}, kLogits).size(), 3u);
  EXPECT_EQ(Shares({.top_p = 0.0f}, kLogits).size(), 1u);
  EXPECT_EQ(Shares({.min_p = 0.25f}, kLogits).size(), 3u);
  // Entropy is 1.208 nats; surprises 0.69, 1.39, 1.90, 2.30: token 1 is the most typical.
  const auto typical = Shares({.typical_p = 0.2f}, kLogits);
  EXPECT_EQ(typical.size(), 1u);
  EXPECT_TRUE(typical.contains(1));
}

TEST_F(SamplerTest, PenaltiesAndBias) {
  SamplingParams params{.temperature = 0, .presence_penalty = 2.0f};
  const std::vector<int32_t> prompt = {0};
  Sampler sampler(params, 1, prompt);
  EXPECT_EQ(SampleOnce(sampler, {2, 1, 0}), 1);     // 0 was in the prompt
  EXPECT_EQ(SampleOnce(sampler, {2, 1, 0.5f}), 2);  // 1 was drawn before
  Sampler windowed({.temperature = 0, .presence_penalty = 2.0f, .penalty_window = 1}, 1, prompt);
  EXPECT_EQ(SampleOnce(windowed, {2, 1, 0}), 1);
  EXPECT_EQ(SampleOnce(windowed, {2, 1, 0}), 0);  // 0 has left the window
  Sampler repetition({.temperature = 0, .repetition_penalty = 4.0f}, 1, prompt);
  EXPECT_EQ(SampleOnce(repetition, {2, 1, 0}), 1);
  Sampler biased({.temperature = 0, .logit_bias = {{2, 100.0f}, {99, 1.0f}}}, 1, {});
  EXPECT_EQ(SampleOnce(biased, {2, 1, 0}), 2);
}

TEST_F(SamplerTest, SameSeedSameTokens) {
  for (const uint64_t seed : {uint64_t{1}, uint64_t{42}}) {
    Sampler a({}, seed, {}), b({}, seed, {});
    for (int i = 0; i < 100; ++i) EXPECT_EQ(SampleOnce(a, kLogits), SampleOnce(b, kLogits));
  }
}

TEST(SamplingParamsTest, RangesAreChecked) {
  EXPECT_TRUE(CheckSamplingParams({}).ok());
  EXPECT_NE(CheckSamplingParams({.temperature = 3}).message().find("temperature is 3"), std::string::npos);
  EXPECT_FALSE(CheckSamplingParams({.temperature = std::nanf("")}).ok());
  EXPECT_FALSE(CheckSamplingParams({.top_p = -0.1f}).ok());
  EXPECT_FALSE(CheckSamplingParams({.repetition_penalty = 0}).ok());
  EXPECT_FALSE(CheckSamplingParams({.logit_bias = {{1, 1000.0f}}}).ok());
}

TEST(TopLogprobsTest, SortedWithTiesByIdAndCut) {
  const std::vector<float> logits = {1, 3, 2, 3};
  const auto top = TopLogprobs(logits, 0.5f, 3);
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].token, 1);
  EXPECT_EQ(top[1].token, 3);
  EXPECT_EQ(top[2].token, 2);
  EXPECT_FLOAT_EQ(top[0].logprob, 2.5f);
  EXPECT_TRUE(TopLogprobs(logits, 0, 0).empty());
}

}  // namespace
}  // namespace lem
