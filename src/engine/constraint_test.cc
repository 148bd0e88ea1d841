#include "engine/constraint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace lem {
namespace {

// Letters 0 to 25, then words and the end.
std::shared_ptr<const GrammarVocabulary> Letters() {
  std::vector<std::string> texts;
  for (char c = 'a'; c <= 'z'; ++c) texts.emplace_back(1, c);
  texts.insert(texts.end(), {"ab", "abc", ""});
  const TokenId end = 28;
  return GrammarVocabulary::FromTexts(texts, {&end, 1});
}

std::unique_ptr<Constraint> Make(const GrammarPiece& piece) {
  auto grammar = Grammar::Compile(piece);
  EXPECT_TRUE(grammar.ok()) << grammar.status().ToString();
  auto constraint = Constraint::Create(*grammar, Letters());
  EXPECT_TRUE(constraint.ok()) << constraint.status().ToString();
  return *std::move(constraint);
}

// Ids that may follow, of rows that are longer than the vocabulary.
std::vector<int32_t> Allowed(Constraint& constraint) {
  std::vector<float> logits(40, 1.0f);
  const Status status = constraint.Mask(logits);
  EXPECT_TRUE(status.ok()) << status.ToString();
  std::vector<int32_t> allowed;
  for (int32_t i = 0; i < 40; ++i) {
    if (std::isfinite(logits[static_cast<size_t>(i)])) allowed.push_back(i);
  }
  return allowed;
}

TEST(Constraint, MasksFollowTheGrammar) {
  const std::vector<std::string> words = {"abc", "b"};
  const auto constraint = Make(GrammarPiece::ChoiceOf(words));
  EXPECT_THAT(Allowed(*constraint), testing::ElementsAre(0, 1, 26, 27));
  EXPECT_FALSE(constraint->MayEnd());
  ASSERT_TRUE(constraint->Accept(26).ok());
  EXPECT_THAT(Allowed(*constraint), testing::ElementsAre(2));
  ASSERT_TRUE(constraint->Accept(2).ok());
  EXPECT_TRUE(constraint->MayEnd());
  EXPECT_TRUE(constraint->MustEnd());
  EXPECT_THAT(Allowed(*constraint), testing::ElementsAre(28));
}

TEST(Constraint, TokensThatMayNotFollowAreErrors) {
  const auto constraint = Make(GrammarPiece::Literal("abc"));
  const Status status = constraint->Accept(5);
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_NE(status.message(), "");
}

}  // namespace
}  // namespace lem
