#include "engine/speculation.h"

#include <gtest/gtest.h>

namespace lem {
namespace {

using Tokens = std::vector<int32_t>;

TEST(DrafterTest, ProposesWhatFollowedTheLastTime) {
  Drafter drafter;
  drafter.Append(Tokens{1, 2, 3, 4, 5, 1, 2, 3, 9, 8, 7});
  EXPECT_EQ(drafter.Propose(4), Tokens{});
  drafter.Append(Tokens{1, 2, 3});
  EXPECT_EQ(drafter.Propose(2), (Tokens{9, 8})) << "the latest place";
  EXPECT_EQ(drafter.Propose(100), (Tokens{9, 8, 7, 1, 2, 3}));
  EXPECT_EQ(drafter.Propose(0), Tokens{});
}

TEST(DrafterTest, ARepetitionProposesItself) {
  Drafter drafter;
  drafter.Append(Tokens{7, 7});
  EXPECT_EQ(drafter.Propose(3), Tokens{});
  drafter.Append(Tokens{7, 7});
  EXPECT_EQ(drafter.Propose(3), Tokens{7});
}

TEST(DrafterTest, AcceptanceFollowsWhatHappens) {
  Drafter drafter;
  for (int i = 0; i < 20; ++i) drafter.Record(4, 0);
  EXPECT_LT(drafter.acceptance(), 0.05);
  for (int i = 0; i < 500; ++i) drafter.Record(0, 0);
  EXPECT_GT(drafter.acceptance(), 0.4) << "it is tried again";
  for (int i = 0; i < 20; ++i) drafter.Record(4, 4);
  EXPECT_GT(drafter.acceptance(), 0.95);
}

TEST(DraftPolicyTest, GuessesWhereRowsAreCheapAndAnswersFew) {
  DraftPolicy cheap, dear;
  for (int i = 0; i < 200; ++i) {
    const int rows = 1 + i % 8;
    cheap.RecordStep(rows, 0.010 + 0.0005 * rows);
    dear.RecordStep(rows, 0.010 * rows);
  }
  EXPECT_GE(cheap.BestLength(0.8, 1, 8), 5);
  EXPECT_EQ(cheap.BestLength(0.02, 1, 8), 0) << "guesses do not come true";
  EXPECT_EQ(cheap.BestLength(0.5, 64, 8), 0) << "a full batch has no time to spare";
  EXPECT_EQ(dear.BestLength(0.9, 1, 8), 0) << "a row costs what a step costs";
  EXPECT_EQ(cheap.BestLength(0.9, 1, 0), 0);
}

TEST(DraftPolicyTest, BeginsCarefullyAndBelievesWhatItMeasures) {
  DraftPolicy policy;
  EXPECT_GE(policy.BestLength(0.9, 1, 8), 1);
  EXPECT_LE(policy.BestLength(0.3, 1, 8), 1);
  for (int i = 0; i < 100; ++i) policy.RecordStep(1 + i % 2 * 4, i % 2 == 0 ? 0.01 : 0.05);
  EXPECT_EQ(policy.BestLength(0.9, 1, 8), 0);
}

}  // namespace
}  // namespace lem
