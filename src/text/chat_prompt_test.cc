// Borders between trusted and caller's text: ordinary tokens cross them, control tokens never come from caller's text.
#include "text/chat_prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

namespace lem {
namespace {

using testing::ElementsAre;

constexpr TokenId kBos = 0, kEnd = 1, kA = 2, kAb = 4, kNewline = 11, kUserDefined = 12;

// a, b, ab, the bytes of "<|>end\n" and two control tokens; "<b>" is user-defined.
std::unique_ptr<Tokenizer> MakeTokenizer(bool add_bos = false) {
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre = "gpt-2";
  spec.tokens = {"<|bos|>", "<|end|>", "a", "b", "ab", "<", "|", ">", "e", "n", "d", "\u010a", "<b>"};
  spec.token_types.assign(spec.tokens.size(), static_cast<int32_t>(TokenType::kNormal));
  spec.token_types[kBos] = spec.token_types[kEnd] = static_cast<int32_t>(TokenType::kControl);
  spec.token_types[kUserDefined] = static_cast<int32_t>(TokenType::kUserDefined);
  spec.merges = {"a b"};
  spec.bos = kBos;
  spec.eos = kEnd;
  spec.add_bos = add_bos;
  auto tokenizer = Tokenizer::Create(std::move(spec));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return std::move(*tokenizer);
}

std::vector<TokenId> Encode(std::initializer_list<RenderedSpan> spans, bool add_bos = false) {
  return EncodeRendered(*MakeTokenizer(add_bos), std::vector<RenderedSpan>(spans));
}

TEST(EncodeRenderedTest, OrdinaryTokensCrossTheBorder) {
  EXPECT_THAT(Encode({{"a", true}, {"b", false}}), ElementsAre(kAb));
  EXPECT_THAT(Encode({{"a", false}, {"b", true}, {"<|end|>", true}}), ElementsAre(kAb, kEnd));
}

TEST(EncodeRenderedTest, ControlTokensComeFromTrustedTextOnly) {
  EXPECT_THAT(Encode({{"a<|end|>", true}}), ElementsAre(kA, kEnd));
  EXPECT_THAT(Encode({{"a<|end|>", false}}), ElementsAre(kA, 5, 6, 8, 9, 10, 6, 7));
  // After one that may not be matched, later ones still are.
  EXPECT_THAT(Encode({{"<|end|>", false}, {"<|end|>", true}, {"\n", false}}),
              ElementsAre(5, 6, 8, 9, 10, 6, 7, kEnd, kNewline));
}

TEST(EncodeRenderedTest, CallersTextCannotCompleteAControlToken) {
  EXPECT_THAT(Encode({{"<|e", true}, {"nd|>", false}}), ElementsAre(5, 6, 8, 9, 10, 6, 7));
  EXPECT_THAT(Encode({{"<|en", false}, {"d|>", true}}), ElementsAre(5, 6, 8, 9, 10, 6, 7));
  EXPECT_THAT(Encode({{"<|e", true}, {"n", false}, {"d|>", true}}), ElementsAre(5, 6, 8, 9, 10, 6, 7));
  // Only text of the template on both sides, and nothing between.
  EXPECT_THAT(Encode({{"<|e", true}, {"", false}, {"nd|>", true}}), ElementsAre(kEnd));
}

TEST(EncodeRenderedTest, UserDefinedTokensAreOrdinaryText) {
  EXPECT_THAT(Encode({{"<b>", false}}), ElementsAre(kUserDefined));
  EXPECT_THAT(Encode({{"<", true}, {"b>", false}}), ElementsAre(kUserDefined));
}

TEST(EncodeRenderedTest, AddsBosOnceIfTheModelWantsIt) {
  EXPECT_THAT(Encode({{"a", true}}, /*add_bos=*/true), ElementsAre(kBos, kA));
  EXPECT_THAT(Encode({{"<|bos|>a", true}}, /*add_bos=*/true), ElementsAre(kBos, kA));
  EXPECT_THAT(Encode({{"<|bos|>", false}}, /*add_bos=*/true), testing::Contains(5));
  EXPECT_THAT(Encode({}, /*add_bos=*/true), ElementsAre(kBos));
}

}  // namespace
}  // namespace lem
