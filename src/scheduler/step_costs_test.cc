#include "scheduler/step_costs.h"

#include <gtest/gtest.h>

namespace lem {
namespace {

TEST(StepCostsTest, LearnsWhatPromptsAddToAnswers) {
  StepCosts costs;
  EXPECT_FALSE(costs.AnswersAlone(1));
  EXPECT_FALSE(costs.PromptRowsWithin(1, 1.0));
  for (int i = 0; i < 20; ++i) {
    costs.Record(0, 256, 0.256);         // 1 ms a row
    costs.Record(4, 0, 0.010);           // 10 ms alone
    costs.Record(4, 20, 0.010 + 0.040);  // 2 ms a row beside them
  }
  EXPECT_NEAR(costs.prompt_row_s(), 0.001, 1e-9);
  EXPECT_NEAR(*costs.AnswersAlone(5), 0.010, 1e-9) << "of the same size, about";
  EXPECT_FALSE(costs.AnswersAlone(64));
  EXPECT_EQ(costs.PromptRowsWithin(4, 0.0305), 10);
  EXPECT_EQ(costs.PromptRowsWithin(4, 0.001), 0);
}

TEST(StepCostsTest, ForgetsWhatIsLongAgo) {
  StepCosts costs;
  costs.Record(1, 0, 0.010);
  EXPECT_TRUE(costs.AnswersAlone(1));
  for (int i = 0; i < 200; ++i) costs.Record(1, 8, 0.020);
  EXPECT_FALSE(costs.AnswersAlone(1)) << "contexts have grown since";
}

TEST(StepCostsTest, NoiseDoesNotMakePromptsFree) {
  StepCosts costs;
  costs.Record(0, 512, 0.512);
  costs.Record(1, 0, 0.010);
  for (int i = 0; i < 10; ++i) costs.Record(1, 8, 0.009);
  EXPECT_LE(*costs.PromptRowsWithin(1, 0.020), 80);
}

}  // namespace
}  // namespace lem
