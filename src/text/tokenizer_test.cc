// Special tokens, ends of answers, defaults and refusals, with vocabularies made by hand.
#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <deque>

#include "text/byte_level.h"

namespace lem {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int32_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4;

struct Token {
  std::string_view text;
  int32_t type = kNormal;
};

TokenizerSpec Spec(std::string_view model, std::initializer_list<Token> tokens) {
  TokenizerSpec spec;
  spec.model = model;
  for (const Token& token : tokens) {
    spec.tokens.push_back(token.text);
    spec.token_types.push_back(token.type);
  }
  return spec;
}

std::unique_ptr<Tokenizer> Create(TokenizerSpec spec) {
  auto tokenizer = Tokenizer::Create(std::move(spec));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return std::move(*tokenizer);
}

std::vector<TokenId> Encode(const Tokenizer& tokenizer, std::string_view text,
                            SpecialTokens special = SpecialTokens::kAsText) {
  return tokenizer.Encode(text, special, AddSpecial::kNone);
}

Status Refusal(TokenizerSpec spec) {
  auto tokenizer = Tokenizer::Create(std::move(spec));
  EXPECT_FALSE(tokenizer.ok());
  return tokenizer.ok() ? OkStatus() : tokenizer.status();
}

// --- merging ---

TEST(BpeTokenizerTest, LowestRankThenLeftmostMergesFirst) {
  TokenizerSpec spec = Spec("gpt2", {{"a"}, {"b"}, {"c"}, {"ab"}, {"bc"}, {"abc"}, {"aa"}});
  spec.merges = {"b c", "a b", "a bc", "a a"};
  const auto tokenizer = Create(std::move(spec));
  EXPECT_THAT(Encode(*tokenizer, "abc"), ElementsAre(5));
  EXPECT_THAT(Encode(*tokenizer, "abbc"), ElementsAre(3, 4));
  EXPECT_THAT(Encode(*tokenizer, "aaa"), ElementsAre(6, 0));
  // Long pieces go by a queue, with the same result.
  std::string text;
  std::vector<TokenId> expected;
  for (int i = 0; i < 100; ++i) {
    text += "abbcaaa";
    for (const TokenId id : {3, 4, 6, 0}) expected.push_back(id);
  }
  // "a" then "ab": the leftmost pair of "aaaab" is taken first.
  EXPECT_EQ(Encode(*tokenizer, text.substr(0, 7)), std::vector<TokenId>(expected.begin(), expected.begin() + 4));
  const std::vector<TokenId> long_ids = Encode(*tokenizer, text);
  EXPECT_EQ(tokenizer->Decode(long_ids, SpecialTokens::kAsText), text);
}

TEST(BpeTokenizerTest, MergesMayPassThroughStringsThatAreNoTokens) {
  TokenizerSpec spec = Spec("gpt2", {{"a"}, {"b"}, {"c"}, {"abc"}});
  spec.merges = {"a b", "ab c"};  // "ab" is not in the vocabulary
  const auto tokenizer = Create(std::move(spec));
  EXPECT_THAT(Encode(*tokenizer, "abc"), ElementsAre(3));
  EXPECT_THAT(Encode(*tokenizer, "abb"), ElementsAre(0, 1, 1));
  EXPECT_THAT(Encode(*tokenizer, "abz"), ElementsAre(0, 1));  // no token for z: left out, as llama.cpp does
}

TEST(BpeTokenizerTest, TextNeverMergesIntoAControlToken) {
  TokenizerSpec spec = Spec("gpt2", {{"a"}, {"b"}, {"ab", kControl}});
  spec.merges = {"a b"};
  spec.pre = "llama-bpe";  // takes whole words that are tokens
  spec.add_bos = false;
  const auto tokenizer = Create(std::move(spec));
  EXPECT_THAT(Encode(*tokenizer, "ab"), ElementsAre(0, 1));
  EXPECT_THAT(Encode(*tokenizer, "ab", SpecialTokens::kParse), ElementsAre(2));
}

TEST(SpmTokenizerTest, HighestScoreMergesFirst) {
  TokenizerSpec spec = Spec("llama", {{"<unk>", kUnknown},
                                      {"<s>", kControl},
                                      {"</s>", kControl},
                                      {"a"},
                                      {"b"},
                                      {"c"},
                                      {"ab"},
                                      {"bc"},
                                      {"▁"},
                                      {"<s"},
                                      {"<"},
                                      {"s"},
                                      {">"}});
  spec.scores = {0, 0, 0, -9, -9, -9, -2, -1, -9, -1, -9, -9, -9};
  spec.add_space_prefix = false;
  const auto tokenizer = Create(std::move(spec));
  EXPECT_THAT(Encode(*tokenizer, "abc"), ElementsAre(3, 7));
  EXPECT_THAT(Encode(*tokenizer, "ab abc"), ElementsAre(6, 8, 3, 7));
  EXPECT_THAT(Encode(*tokenizer, "<s>"), ElementsAre(9, 12)) << "not the control token, though its parts are tokens";
  EXPECT_THAT(Encode(*tokenizer, "é"), ElementsAre(0, 0)) << "no byte tokens: unknown";
  EXPECT_THAT(tokenizer->Encode("a", SpecialTokens::kAsText, AddSpecial::kModelDefault), ElementsAre(1, 3));
}

TEST(SpmTokenizerTest, SpacePrefixAfterSpecialTokens) {
  TokenizerSpec spec = Spec("llama", {{"<unk>", kUnknown}, {"<s>", kControl}, {"</s>", kControl}, {"▁"}, {"a"}});
  const auto tokenizer = Create(std::move(spec));
  EXPECT_THAT(Encode(*tokenizer, "a"), ElementsAre(3, 4));
  EXPECT_THAT(Encode(*tokenizer, "</s>a", SpecialTokens::kParse), ElementsAre(2, 3, 4));
  EXPECT_THAT(Encode(*tokenizer, ""), ElementsAre());
  EXPECT_EQ(tokenizer->Decode(Encode(*tokenizer, " a"), SpecialTokens::kAsText), " a");
}

// --- special tokens ---

TokenizerSpec SpecialSpec() {
  return Spec("gpt2", {{"x"},
                       {"y"},
                       {"Ġ"},
                       {"<|im_end|>", kControl},
                       {"<a>", kUserDefined},
                       {"<a><a>", kUserDefined},
                       {"<unk>", kUnknown},
                       {"<"},
                       {"a"},
                       {">"},
                       {"Ċ"}});
}

TEST(SpecialTokensTest, TheLongestFirstAndUserDefinedAlways) {
  const auto tokenizer = Create(SpecialSpec());
  EXPECT_THAT(Encode(*tokenizer, "x<a>y"), ElementsAre(0, 4, 1));
  EXPECT_THAT(Encode(*tokenizer, "<a><a><a>"), ElementsAre(5, 4));
  EXPECT_THAT(Encode(*tokenizer, "x<|im_end|>y", SpecialTokens::kParse), ElementsAre(0, 3, 1));
  EXPECT_THAT(Encode(*tokenizer, "x<unk>y", SpecialTokens::kParse), ElementsAre(0, 6, 1));
  EXPECT_THAT(Encode(*tokenizer, "x<|im_end|>y"), testing::Not(testing::Contains(3)));
}

TEST(SpecialTokensTest, SomeModelsSwallowWhiteSpaceBesideThem) {
  TokenizerSpec spec = SpecialSpec();
  spec.model_name = "Phi-3 mini";
  EXPECT_THAT(Encode(*Create(std::move(spec)), "x <|im_end|> \n y", SpecialTokens::kParse), ElementsAre(0, 2, 3, 1));
  spec = SpecialSpec();
  spec.tokens.push_back("<mask>");
  spec.token_types.push_back(kControl);
  spec.architecture = "nomic-bert-moe";
  EXPECT_THAT(Encode(*Create(std::move(spec)), "x \n<mask> y", SpecialTokens::kParse), ElementsAre(0, 11, 2, 1));
}

TEST(SpecialTokensTest, ManyAtEveryByteTakeLittleTime) {
  std::deque<std::string> names;
  TokenizerSpec spec = SpecialSpec();
  for (size_t length = 1; length <= 64; ++length) {
    spec.tokens.push_back(names.emplace_back(length, '\n'));
    spec.token_types.push_back(kUserDefined);
  }
  const auto tokenizer = Create(std::move(spec));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(Encode(*tokenizer, std::string(1000001, '\n')).size(), 1000001U / 64 + 1);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));  // quadratic: hours
}

// --- ends of answers ---

TEST(EndOfGenerationTest, KnownNamesAndStatedIds) {
  TokenizerSpec spec = Spec("gpt2", {{"a"}, {"b"}, {"c"}, {"<|im_end|>"}, {"<|eot_id|>", kControl}, {"</s>"}, {"d"}});
  spec.eos = 0;
  spec.eot = 1;
  spec.extra_end_tokens = {2};
  const auto tokenizer = Create(std::move(spec));
  for (const TokenId id : {0, 1, 2, 3, 4, 5}) EXPECT_TRUE(tokenizer->IsEndOfGeneration(id)) << id;
  for (const TokenId id : {6, -1, 7, 1000}) EXPECT_FALSE(tokenizer->IsEndOfGeneration(id)) << id;
  EXPECT_EQ(tokenizer->type_of(3), TokenType::kControl) << "a name that looks like control is control";
  EXPECT_EQ(tokenizer->TokenText(3, SpecialTokens::kAsText), "");
}

TEST(EndOfGenerationTest, PartsOfAnAnswerDoNotEndIt) {
  const auto tokenizer = Create(Spec(
      "gpt2", {{"<|return|>", kControl}, {"<|call|>", kControl}, {"<|end|>", kControl}, {"<|channel|>", kControl}}));
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(0));
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(1));
  EXPECT_FALSE(tokenizer->IsEndOfGeneration(2));
  EXPECT_EQ(tokenizer->TokenText(3, SpecialTokens::kAsText), "<|channel|>");
}

// --- properties ---

TEST(TokenizerTest, DefaultsOfTheKind) {
  const auto spm = Create(Spec("llama", {{"<unk>", kUnknown}, {"<s>", kControl}, {"</s>", kControl}}));
  EXPECT_EQ(spm->bos(), 1);
  EXPECT_EQ(spm->eos(), 2);
  EXPECT_TRUE(spm->adds_bos());
  EXPECT_FALSE(spm->adds_eos());
  const auto bpe = Create(Spec("gpt2", {{"a"}, {"b"}}));
  EXPECT_EQ(bpe->bos(), std::nullopt) << "the default, 11, is outside this vocabulary";
  EXPECT_FALSE(bpe->adds_bos());
  EXPECT_EQ(bpe->vocab_size(), 2);
  EXPECT_EQ(bpe->Find("b"), 1);
  EXPECT_EQ(bpe->Find("c"), std::nullopt);
  EXPECT_EQ(bpe->type_of(9), TokenType::kUndefined);
}

TEST(TokenizerTest, IdsOutsideTheVocabularyDoNotCount) {
  TokenizerSpec spec = Spec("llama", {{"<unk>", kUnknown}, {"<s>", kControl}, {"</s>", kControl}});
  spec.bos = 3;
  spec.eos = -7;
  spec.padding = 1 << 30;
  spec.extra_end_tokens = {0, 3, -1};
  const auto tokenizer = Create(std::move(spec));
  EXPECT_EQ(tokenizer->bos(), 1) << "the default";
  EXPECT_EQ(tokenizer->eos(), 2);
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(0));
  EXPECT_FALSE(tokenizer->IsEndOfGeneration(3));
}

TEST(TokenizerTest, EmptyTokensGetANameAndTheFirstOfEqualsCounts) {
  const auto tokenizer = Create(Spec("gpt2", {{""}, {"a"}, {"a"}}));
  EXPECT_EQ(tokenizer->Find("[EMPTY_0]"), 0);
  EXPECT_EQ(tokenizer->Find("a"), 1);
}

TEST(TokenizerTest, OwnerIsKept) {
  auto owner = std::make_shared<std::string>("ab");
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.tokens = {std::string_view(*owner).substr(0, 1), std::string_view(*owner).substr(1)};
  spec.owner = owner;
  const auto tokenizer = Create(std::move(spec));
  const std::weak_ptr<std::string> watch = owner;
  owner.reset();
  EXPECT_FALSE(watch.expired());
  EXPECT_THAT(Encode(*tokenizer, "ba"), ElementsAre(1, 0));
}

// --- refusals ---

TEST(TokenizerTest, RefusesWhatDisagrees) {
  TokenizerSpec spec = Spec("gpt2", {{"a"}, {"b"}});
  spec.token_types.pop_back();
  EXPECT_THAT(Refusal(spec).message(), HasSubstr("token_type has 1 entries for 2 tokens"));
  spec.token_types.clear();
  spec.scores = {1};
  EXPECT_THAT(Refusal(spec).message(), HasSubstr("scores has 1 entries for 2 tokens"));
  spec.scores.clear();
  spec.add_bos = true;
  EXPECT_THAT(Refusal(spec).message(), HasSubstr("add_bos_token is true, but tokenizer.ggml.bos_token_id is not set"));
  spec.add_bos.reset();
  spec.tokens.clear();
  EXPECT_THAT(Refusal(spec).message(), HasSubstr("0 tokens"));
}

TEST(TokenizerTest, RefusesUnknownKinds) {
  EXPECT_EQ(Refusal(Spec("rwkv", {{"a"}})).code(), StatusCode::kUnimplemented);
  TokenizerSpec spec = Spec("gpt2", {{"a"}});
  spec.pre = "nobody-knows";
  EXPECT_THAT(Refusal(spec).message(), HasSubstr("nobody-knows"));
}

TEST(TokenizerTest, RefusesADamagedCharsmap) {
  TokenizerSpec spec = Spec("t5", {{"<pad>", kControl}, {"</s>", kControl}, {"<unk>", kUnknown}, {"▁a"}});
  spec.precompiled_charsmap = "abc";
  EXPECT_EQ(Refusal(spec).code(), StatusCode::kDataLoss);
  spec.precompiled_charsmap = std::string_view("\xFF\xFF\xFF\xFFxyz", 7);
  EXPECT_EQ(Refusal(spec).code(), StatusCode::kDataLoss);
  // A trie that leads out of itself replaces nothing.
  spec.precompiled_charsmap = std::string_view("\x04\0\0\0\xFF\xFF\xFF\x7F\0", 9);
  spec.add_space_prefix = true;
  EXPECT_THAT(Encode(*Create(spec), "a"), ElementsAre(3));
}

}  // namespace
}  // namespace lem
