#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <array>
#include <deque>

#include "text/byte_level.h"

namespace lem {
namespace {

constexpr TokenId kControl = 256;

// Ids 0 to 255 are the bytes; 256 is a control token.
std::unique_ptr<Tokenizer> ByteTokenizer() {
  auto names = std::make_shared<std::deque<std::string>>();
  TokenizerSpec spec;
  spec.model = "gpt2";
  for (const ByteSpelling& spelling : ByteLevelAlphabet()) spec.tokens.push_back(names->emplace_back(spelling.view()));
  spec.tokens.push_back("<|end|>");
  spec.token_types.assign(256, 1);
  spec.token_types.push_back(3);
  spec.owner = names;
  auto tokenizer = Tokenizer::Create(std::move(spec));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return std::move(*tokenizer);
}

std::unique_ptr<Tokenizer> SpmTokenizer() {
  TokenizerSpec spec;
  spec.model = "llama";
  spec.tokens = {"<unk>", "<s>", "</s>", "▁a", "▁", "b", "<0xF0>", "<0x9F>", "<0x-1>", "<0xZZ>", "<0x>"};
  spec.scores.assign(spec.tokens.size(), 0);
  spec.token_types = {2, 3, 3, 1, 1, 1, 6, 6, 6, 6, 6};
  auto tokenizer = Tokenizer::Create(std::move(spec));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return std::move(*tokenizer);
}

TokenId Id(char c) { return static_cast<uint8_t>(c); }

TEST(StreamingDetokenizerTest, HoldsAnUnfinishedCodePointBack) {
  const auto tokenizer = ByteTokenizer();
  StreamingDetokenizer detokenizer(*tokenizer, SpecialTokens::kAsText, true);
  const std::string emoji = "😀";
  EXPECT_EQ(detokenizer.Append(Id(emoji[0])), "");
  EXPECT_EQ(detokenizer.Append(Id(emoji[1])), "");
  EXPECT_EQ(detokenizer.Append(Id(emoji[2])), "");
  EXPECT_EQ(detokenizer.Append(Id(emoji[3])), emoji);
  EXPECT_EQ(detokenizer.Finish(), "");
}

TEST(StreamingDetokenizerTest, BytesThatCannotBecomeTextAreReplaced) {
  const auto tokenizer = ByteTokenizer();
  StreamingDetokenizer detokenizer(*tokenizer, SpecialTokens::kAsText, true);
  EXPECT_EQ(detokenizer.Append(0x80), "\uFFFD");
  EXPECT_EQ(detokenizer.Append(0xE2), "");
  EXPECT_EQ(detokenizer.Append(Id('x')), "\uFFFDx");
  EXPECT_EQ(detokenizer.Append(0xED), "");  // a surrogate is not text
  EXPECT_EQ(detokenizer.Append(0xA0), "\uFFFD\uFFFD");
  EXPECT_EQ(detokenizer.Append(0xC0), "\uFFFD");
  EXPECT_EQ(detokenizer.Append(0xF0), "");
  EXPECT_EQ(detokenizer.Append(0x9F), "");
  EXPECT_EQ(detokenizer.Finish(), "\uFFFD");
  EXPECT_EQ(detokenizer.Finish(), "");
}

TEST(StreamingDetokenizerTest, ControlTokensShowOnlyWhenAsked) {
  const auto tokenizer = ByteTokenizer();
  StreamingDetokenizer hidden(*tokenizer, SpecialTokens::kAsText, true);
  EXPECT_EQ(hidden.Append(kControl), "");
  StreamingDetokenizer shown(*tokenizer, SpecialTokens::kParse, true);
  EXPECT_EQ(shown.Append(kControl), "<|end|>");
}

TEST(StreamingDetokenizerTest, IdsOutsideTheVocabularyAreEmpty) {
  const auto tokenizer = ByteTokenizer();
  StreamingDetokenizer detokenizer(*tokenizer, SpecialTokens::kParse, true);
  EXPECT_EQ(detokenizer.Append(-1), "");
  EXPECT_EQ(detokenizer.Append(257), "");
  EXPECT_EQ(detokenizer.Append(INT32_MAX), "");
}

TEST(StreamingDetokenizerTest, DropsTheSpaceThatSentencePieceAdds) {
  const auto tokenizer = SpmTokenizer();
  StreamingDetokenizer start(*tokenizer, SpecialTokens::kAsText, true);
  EXPECT_EQ(start.Append(1), "");  // BOS does not use the chance up
  EXPECT_EQ(start.Append(3), "a");
  EXPECT_EQ(start.Append(3), " a");
  StreamingDetokenizer middle(*tokenizer, SpecialTokens::kAsText, false);
  EXPECT_EQ(middle.Append(3), " a");
  StreamingDetokenizer space(*tokenizer, SpecialTokens::kAsText, true);
  EXPECT_EQ(space.Append(4), "");
  EXPECT_EQ(space.Append(4), " ");
  EXPECT_EQ(tokenizer->Decode(std::array{1, 3, 5, 3}, SpecialTokens::kAsText), "ab a");
}

TEST(StreamingDetokenizerTest, ByteTokens) {
  const auto tokenizer = SpmTokenizer();
  EXPECT_EQ(tokenizer->TokenText(6, SpecialTokens::kAsText), "\xF0");
  for (const TokenId malformed : {8, 9, 10}) EXPECT_EQ(tokenizer->TokenText(malformed, SpecialTokens::kAsText), "");
  StreamingDetokenizer detokenizer(*tokenizer, SpecialTokens::kAsText, true);
  EXPECT_EQ(detokenizer.Append(6), "");
  EXPECT_EQ(detokenizer.Append(7), "");
  EXPECT_EQ(detokenizer.Append(5), "\uFFFDb");
}

}  // namespace
}  // namespace lem
