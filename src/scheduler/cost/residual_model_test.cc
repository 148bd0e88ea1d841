#include "scheduler/cost/residual_model.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <random>

namespace lem {
namespace {

// A kernel that is slow for few rows and past its cache, unlike in the two phases.
double Truth(const FeatureVector& f) {
  const double rows = static_cast<double>(f[static_cast<size_t>(Feature::kLogRows)]);
  const double bytes = static_cast<double>(f[static_cast<size_t>(Feature::kLogBytes)]);
  const bool decode = f[static_cast<size_t>(Feature::kDecode)] > 0.5F;
  return (decode ? 0.3 : -0.1) + (bytes > 22 ? 0.4 : 0) + 0.5 * std::exp(-rows / 3);
}

std::vector<ResidualRow> Rows(size_t count, uint32_t seed, double noise) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(0, 1);
  std::normal_distribution<float> normal(0, static_cast<float>(noise));
  std::vector<ResidualRow> rows(count);
  for (ResidualRow& row : rows) {
    for (float& feature : row.features) feature = uniform(random);
    row.features[static_cast<size_t>(Feature::kLogRows)] *= 12;
    row.features[static_cast<size_t>(Feature::kLogBytes)] = 10 + 20 * uniform(random);
    row.features[static_cast<size_t>(Feature::kDecode)] = uniform(random) > 0.5F ? 1 : 0;
    row.log_ratio = static_cast<float>(Truth(row.features)) + normal(random);
  }
  return rows;
}

double MeanError(const ResidualModel& model, const std::vector<ResidualRow>& rows) {
  double sum = 0;
  for (const ResidualRow& row : rows) sum += std::abs(model.Predict(row.features) - Truth(row.features));
  return sum / static_cast<double>(rows.size());
}

TEST(ResidualModelTest, LearnsWhatTheRooflineMisses) {
  const std::vector<ResidualRow> held_out = Rows(500, 2, 0);
  const auto begin = std::chrono::steady_clock::now();
  const ResidualModel model = ResidualModel::Train(Rows(1000, 1, 0.05));
  const std::chrono::duration<double> training = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(training.count(), 120);  // a fraction of a second unless a sanitizer is in the way
  EXPECT_LT(MeanError(model, held_out), 0.04);
  EXPECT_GT(MeanError(ResidualModel(), held_out), 0.2);
}

TEST(ResidualModelTest, PredictsInMicroseconds) {
  const std::vector<ResidualRow> rows = Rows(1000, 1, 0.05);
  const ResidualModel model = ResidualModel::Train(rows);
  double best_us = 1e9, sum = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto begin = std::chrono::steady_clock::now();
    for (const ResidualRow& row : rows) sum += model.Predict(row.features);
    const std::chrono::duration<double, std::micro> all = std::chrono::steady_clock::now() - begin;
    best_us = std::min(best_us, all.count() / static_cast<double>(rows.size()));
  }
  EXPECT_NE(sum, 0);
  EXPECT_LT(best_us, 500);  // 1 where nothing else runs
}

TEST(ResidualModelTest, NothingToLearnPredictsNothing) {
  EXPECT_EQ(ResidualModel::Train({}).Predict({}), 0);
  ResidualRow bad;
  bad.log_ratio = NAN;
  EXPECT_EQ(ResidualModel::Train({&bad, 1}).Predict({}), 0);
  std::vector<ResidualRow> same(10);
  for (ResidualRow& row : same) row.log_ratio = 0.25F;
  EXPECT_NEAR(ResidualModel::Train(same).Predict({}), 0.25, 1e-6);
}

TEST(ResidualModelTest, JsonReadsBackEqual) {
  const std::vector<ResidualRow> rows = Rows(300, 3, 0.05);
  const ResidualModel model = ResidualModel::Train(rows);
  const Result<ResidualModel> copy = ResidualModel::FromJson(model.ToJson());
  ASSERT_TRUE(copy.ok()) << copy.status().ToString();
  for (const ResidualRow& row : rows) EXPECT_DOUBLE_EQ(copy->Predict(row.features), model.Predict(row.features));
}

TEST(ResidualModelTest, RefusesTreesThatLeadAstray) {
  for (const char* text :
       {"", "{}", R"({"features":12,"base":0.0,"trees":[]})", R"({"features":13,"base":0.0,"trees":[[0,0,0.0]]})",
        R"({"features":13,"base":0.0,"trees":[[1,0,0.0,0.0]]})",
        R"({"features":13,"base":0.0,"trees":[[1,13,0.0,0.0,0,0,0.0,0.0,0,0,0.0,0.0]]})",
        R"({"features":13,"base":0.0,"trees":[[1,0,0.0,0.0,1,0,0.0,0.0,0,0,0.0,0.0]]})"}) {
    EXPECT_EQ(ResidualModel::FromJson(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace lem
