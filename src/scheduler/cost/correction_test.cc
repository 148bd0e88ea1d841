#include "scheduler/cost/correction.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lem {
namespace {

const CorrectionKey kFfn{0, CostKind::kFeedForward, Phase::kDecode, 0};

TEST(CorrectionTest, StartsWithThePriorAndLearnsAFactor) {
  CorrectionTable table({0.2, 0.2});
  EXPECT_EQ(table.Lookup(kFfn).log_factor, 0);
  EXPECT_DOUBLE_EQ(table.Lookup(kFfn).log_error, 0.2);
  for (int i = 0; i < 10; ++i) table.Observe(kFfn, 0.5 + (i % 2 == 0 ? 0.01 : -0.01));
  EXPECT_NEAR(table.Lookup(kFfn).log_factor, 0.5, 0.02);
  EXPECT_LT(table.Lookup(kFfn).log_error, 0.05);
  // The other device is as unknown as before.
  EXPECT_EQ(table.Lookup({1, CostKind::kFeedForward, Phase::kDecode, 0}).log_factor, 0);
}

TEST(CorrectionTest, NeighboursBorrowInPart) {
  CorrectionTable table({0.2});
  for (int i = 0; i < 5; ++i) table.Observe(kFfn, 0.4);
  const double bucket = table.Lookup({0, CostKind::kFeedForward, Phase::kDecode, 3}).log_factor;
  const double kind = table.Lookup({0, CostKind::kAttention, Phase::kDecode, 0}).log_factor;
  EXPECT_GT(bucket, 0.3);
  EXPECT_GT(kind, 0.05);
  EXPECT_LT(kind, bucket);
}

TEST(CorrectionTest, FollowsAStepWithinFewObservations) {
  CorrectionTable table({0.2});
  for (int i = 0; i < 200; ++i) table.Observe(kFfn, 0.02 * ((i % 3) - 1));
  table.Observe(kFfn, 0.7);  // one hiccup changes nothing
  EXPECT_NEAR(table.Lookup(kFfn).log_factor, 0, 0.02);
  table.Observe(kFfn, 0.01);
  for (int i = 0; i < 4; ++i) table.Observe(kFfn, 0.69);
  EXPECT_NEAR(table.Lookup(kFfn).log_factor, 0.69, 0.1);
}

TEST(CorrectionTest, WhatWasSlowForAWhileIsGivenAnotherChance) {
  CorrectionTable table({0.2});
  const CorrectionKey key{0, CostKind::kFeedForward, Phase::kDecode, 0};
  for (int i = 0; i < 100; ++i) table.Observe(key, 0.1);
  for (int i = 0; i < 5; ++i) table.Observe(key, 1.5);
  const double slow = table.Lookup(key).log_factor;
  EXPECT_GT(slow, 1.2);
  table.Relax(0, 0.5);
  EXPECT_LT(table.Lookup(key).log_factor, slow);
  table.Relax(0, 1);
  EXPECT_NEAR(table.Lookup(key).log_factor, 0.2, 0.1);
  table.Observe(key, 1.5);
  EXPECT_GT(table.Lookup(key).log_factor, 1.2) << "it is still slow";
}

TEST(CorrectionTest, MeasuresItsOwnError) {
  CorrectionTable table({0.2});
  table.Observe(kFfn, 0.5);
  EXPECT_DOUBLE_EQ(table.recent_error(), 0.5);
  for (int i = 0; i < 200; ++i) table.Observe(kFfn, 0.5);
  EXPECT_LT(table.recent_error(), 0.02);
  EXPECT_EQ(table.num_observations(), 201);
  table.Observe(kFfn, NAN);
  EXPECT_EQ(table.num_observations(), 201);
}

TEST(CorrectionTest, JsonReadsBackEqual) {
  CorrectionTable table({0.2, 0.3});
  for (int i = 0; i < 20; ++i) {
    table.Observe({i % 2, static_cast<CostKind>(i % 6), Phase::kPrefill, i}, 0.01 * i);
  }
  CorrectionTable copy({0.2, 0.3});
  const Status read = copy.ReadJson(table.ToJson());
  ASSERT_TRUE(read.ok()) << read.ToString();
  for (int i = 0; i < 20; ++i) {
    const CorrectionKey key{i % 2, static_cast<CostKind>(i % 6), Phase::kPrefill, i};
    EXPECT_DOUBLE_EQ(copy.Lookup(key).log_factor, table.Lookup(key).log_factor);
  }
  CorrectionTable other({0.2});
  EXPECT_EQ(other.ReadJson(table.ToJson()).code(), StatusCode::kInvalidArgument);
  for (const char* text :
       {"", "[]", "{}", R"({"devices":[[[99,0,0.1,0.1,1]],[]]})", R"({"devices":[[[0,0,1e9,0.1,1]],[]]})",
        R"({"devices":[[[0,0,0.1,0.1,0]],[]]})", R"({"devices":[1,2]})"}) {
    EXPECT_EQ(copy.ReadJson(text).code(), StatusCode::kInvalidArgument) << text;
  }
}

TEST(CorrectionTest, RowsFallIntoBucketsOfPowersOfTwo) {
  EXPECT_EQ(RowBucketOf(1), 0);
  EXPECT_EQ(RowBucketOf(2), 1);
  EXPECT_EQ(RowBucketOf(4), 2);
  EXPECT_EQ(RowBucketOf(5), 3);
  EXPECT_EQ(RowBucketOf(512), 9);
  EXPECT_EQ(RowBucketOf(0), 0);
}

}  // namespace
}  // namespace lem
