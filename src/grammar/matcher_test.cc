#include <gtest/gtest.h>

#include <random>

#include "grammar/grammar.h"

namespace lem {
namespace {

// Pieces of JSON and of words, every single byte, and an end; what tokenizers have.
class Vocabulary {
 public:
  explicit Vocabulary(const std::vector<std::string>& more = {}) {
    for (int byte = 0; byte < 256; ++byte) texts_.emplace_back(1, static_cast<char>(byte));
    for (const char* text : {"{\"",       "\":",      "\": ",    "\", \"", "\"}",  "}",    "},",  "}}",
                             "]",         "[{",       "true",    "null",   "name", "na",   "me",  "\"name",
                             "\"name\":", "12",       "123",     "1.",     "  ",   "\n  ", "abc", "ab",
                             "ba",        "\xC3\xA9", "caf\xC3", "hello",  "\\n",  "\\\"", "]]",  "a longer plain text",
                             "\\u00"}) {
      texts_.emplace_back(text);
    }
    texts_.insert(texts_.end(), more.begin(), more.end());
    texts_.emplace_back();  // a control token
    control_ = static_cast<TokenId>(texts_.size() - 1);
    texts_.emplace_back();
    end_ = static_cast<TokenId>(texts_.size() - 1);
    const TokenId ends[] = {end_};
    vocabulary_ = GrammarVocabulary::FromTexts(texts_, ends);
  }
  const std::vector<std::string>& texts() const { return texts_; }
  TokenId end() const { return end_; }
  TokenId control() const { return control_; }
  const std::shared_ptr<const GrammarVocabulary>& get() const { return vocabulary_; }

 private:
  std::vector<std::string> texts_;
  TokenId end_ = 0, control_ = 0;
  std::shared_ptr<const GrammarVocabulary> vocabulary_;
};

const Vocabulary& Words() {
  static const Vocabulary vocabulary;
  return vocabulary;
}

std::unique_ptr<GrammarMatcher> MatcherOf(const GrammarPiece& piece, const Vocabulary& words = Words()) {
  const auto grammar = Grammar::Compile(piece);
  if (!grammar.ok()) {
    ADD_FAILURE() << grammar.status().message();
    return nullptr;
  }
  return GrammarMatcher::Create(*grammar, words.get());
}

bool Matches(const GrammarPiece& piece, std::string_view text) {
  const auto matcher = MatcherOf(piece);
  return matcher != nullptr && (text.empty() || matcher->AcceptBytes(text)) && matcher->MayEnd();
}

// The mask against trying every token; a random walk; going back and forth.
void CheckMasks(const GrammarPiece& piece, unsigned seed, int steps = 60, const Vocabulary& words = Words()) {
  const auto matcher = MatcherOf(piece, words);
  ASSERT_NE(matcher, nullptr);
  std::mt19937 random(seed);
  std::vector<uint32_t> mask(words.get()->mask_words()), again(mask.size());
  std::string so_far;
  std::vector<TokenId> accepted;
  for (int step = 0; step < steps && !matcher->Finished(); ++step) {
    ASSERT_TRUE(matcher->FillMask(mask).ok()) << so_far;
    std::vector<TokenId> allowed;
    for (TokenId token = 0; token < static_cast<TokenId>(words.texts().size()); ++token) {
      const bool in_mask = (mask[static_cast<size_t>(token) / 32] >> (token % 32) & 1) != 0;
      const auto copy = matcher->Clone();
      ASSERT_EQ(copy->Accept(token), in_mask)
          << so_far << " then token " << token << ": " << words.texts()[static_cast<size_t>(token)];
      if (in_mask) allowed.push_back(token);
    }
    const TokenId token = allowed[random() % allowed.size()];
    ASSERT_TRUE(matcher->Accept(token));
    accepted.push_back(token);
    so_far += words.texts()[static_cast<size_t>(token)];
    if (random() % 4 == 0 && accepted.size() > 1) {
      const size_t back = 1 + random() % (accepted.size() - 1);
      matcher->Rollback(back);
      const auto fresh = MatcherOf(piece, words);
      for (size_t i = 0; i + back < accepted.size(); ++i) ASSERT_TRUE(fresh->Accept(accepted[i]));
      ASSERT_TRUE(matcher->FillMask(mask).ok());
      ASSERT_TRUE(fresh->FillMask(again).ok());
      ASSERT_EQ(mask, again);
      for (size_t i = accepted.size() - back; i < accepted.size(); ++i) ASSERT_TRUE(matcher->Accept(accepted[i]));
    }
  }
}

// As many tokens as take the ways for large vocabularies: words, numbers, blanks, ends of strings, characters beyond
// ASCII (some of them white space), whole and cut.
const Vocabulary& ManyWords() {
  static const Vocabulary vocabulary = [] {
    const std::vector<std::string> parts = {"a",
                                            "b",
                                            "el",
                                            "X",
                                            "Zq",
                                            "0",
                                            "42",
                                            "_",
                                            "-",
                                            ".",
                                            "/",
                                            ":",
                                            "@",
                                            " ",
                                            "  ",
                                            "\xC3\xA9",
                                            "\n",
                                            "\\",
                                            "\\n",
                                            "%",
                                            "\xE4\xB8\xAD",
                                            "\"",
                                            ",",
                                            "=",
                                            "+",
                                            "(",
                                            "\xE3\x80\x80",
                                            "\xE2\x80\xA8",
                                            "\xC2\xA0",
                                            "\xF0\x9F\x98\x80"};
    std::mt19937 random(7);
    std::vector<std::string> texts;
    for (int i = 0; i < 1500; ++i) {
      std::string text;
      for (size_t n = 1 + random() % 5; n > 0; --n) text += parts[random() % parts.size()];
      if (random() % 8 == 0) text.resize(1 + random() % text.size());  // perhaps within a character
      texts.push_back(std::move(text));
    }
    texts.emplace_back(20, ' ');
    texts.emplace_back("----------------------");
    return Vocabulary(texts);
  }();
  return vocabulary;
}

TEST(GrammarMatcher, JsonObject) {
  const GrammarPiece piece = GrammarPiece::JsonObject();
  for (const char* text :
       {"{}", "{ }", R"({"a":1})", R"({"a": [1, 2.5e-3, -0, "x\n\u00e9\ud83d\ude00", true], "b": {}})",
        "{\n  \"a\": null\n}", "{\"caf\xC3\xA9\": \"\xF0\x9F\x98\x80\"}"}) {
    EXPECT_TRUE(Matches(piece, text)) << text;
  }
  for (const char* text : {"", "[]", "{", "{\"a\"}", "{\"a\":01}", "{\"a\":1,}", "{\"a\":\"\xC3\"}", "{\"a\":\"\n\"}",
                           "{} ", R"({"a":"\ud83d"})", R"({"a":"\x"})", "{a:1}", "{\"a\":nul}"}) {
    EXPECT_FALSE(Matches(piece, text)) << text;
  }
}

TEST(GrammarMatcher, CompactHasNoBlanks) {
  EXPECT_TRUE(Matches(GrammarPiece::JsonObject(JsonWhitespace::kCompact), R"({"a":[1,2]})"));
  EXPECT_FALSE(Matches(GrammarPiece::JsonObject(JsonWhitespace::kCompact), R"({"a": 1})"));
}

TEST(GrammarMatcher, MasksOfWideStatesAreWhatAcceptSays) {
  const char* const schemas[] = {
      R"({"type": "string", "pattern": "^[^@]+@[a-z]+\\.[a-z]{2,}$", "maxLength": 60})",
      R"({"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,70}@X"})",
      R"({"type": "string", "pattern": "a/b", "minLength": 1, "maxLength": 50})",
      R"({"type": "string", "pattern": "^(?:\\S+\\s+){0,9}\\S+$"})",
      R"({"type": "string", "pattern": "^(\\S+\\s+){0,40}\\S+$", "maxLength": 80})",
      R"({"type": "string", "pattern": "^.{0,40}$"})",
      R"({"type": "string", "pattern": "^[^\\s]+$"})",
      R"({"type": "string", "pattern": "^[\\x20-\\u00ff]*$"})",
      R"({"type": "string", "pattern": "^\\p{L}+( \\p{L}+)*$"})",
      R"({"type": "string", "pattern": "^(a|bb|[^a-m ]{3}){0,30}$"})",
      R"({"type": "string", "pattern": "^.*(foo|bar|qux|Zq-)*.*$"})",
      R"({"type": "string", "pattern": "^[^\\u3000]*(foo|bar|qux|Zq-)*[^\\u3000]*$", "minLength": 3})",
      R"({"type": "string", "format": "uri"})",
      R"({"type": "string", "format": "email"})",
      R"({"type": "string", "minLength": 25, "maxLength": 70})",
      R"({"type": "object", "properties": {"a": true, "el": true}, "patternProperties": {"^X": {"type": "null"}}})"};
  for (const char* schema : schemas) {
    SCOPED_TRACE(schema);
    for (unsigned seed = 0; seed < 2; ++seed) CheckMasks(GrammarPiece::JsonSchema(schema), seed, 25, ManyWords());
  }
  for (const char* pattern : {"[^@]*@[^@]*", "(\\w+ ){3,60}end", ".*", "[\\s\\S]*x{40,50}", "\\S+(\\s\\S+)*"}) {
    SCOPED_TRACE(pattern);
    for (unsigned seed = 0; seed < 2; ++seed) CheckMasks(GrammarPiece::Regex(pattern), seed, 25, ManyWords());
    CheckMasks(GrammarPiece::Sequence(
                   {GrammarPiece::Regex(pattern), GrammarPiece::Literal("\n# el"), GrammarPiece::Regex("[a-z]+")}),
               9, 25, ManyWords());
  }
}

TEST(GrammarMatcher, MasksAreWhatAcceptSays) {
  for (unsigned seed = 0; seed < 8; ++seed) {
    CheckMasks(GrammarPiece::JsonObject(), seed);
    CheckMasks(GrammarPiece::JsonAny(JsonWhitespace::kCompact), seed);
    CheckMasks(GrammarPiece::Sequence({GrammarPiece::Text({"{\""}), GrammarPiece::Literal("{\""),
                                       GrammarPiece::Token(Words().control()), GrammarPiece::JsonAny()}),
               seed);
  }
}

TEST(GrammarMatcher, Choices) {
  const std::vector<std::string> words = {"abc", "ab", "hello", "12"};
  const GrammarPiece piece = GrammarPiece::ChoiceOf(words);
  for (const std::string& word : words) EXPECT_TRUE(Matches(piece, word));
  EXPECT_FALSE(Matches(piece, "a"));
  EXPECT_FALSE(Matches(piece, "abcd"));
  CheckMasks(piece, 1);
}

TEST(GrammarMatcher, TextEndsAtItsTrigger) {
  const GrammarPiece piece = GrammarPiece::Sequence(
      {GrammarPiece::Text({"<tool>"}),
       GrammarPiece::Optional(GrammarPiece::Sequence({GrammarPiece::Literal("<tool>"), GrammarPiece::JsonObject()}))});
  EXPECT_TRUE(Matches(piece, "free < text <too"));
  EXPECT_TRUE(Matches(piece, "call <tool>{\"a\": 1}"));
  EXPECT_TRUE(Matches(piece, "<<tool>{}"));
  EXPECT_FALSE(Matches(piece, "call <tool>"));
  EXPECT_FALSE(Matches(piece, "call <tool>{} and more"));
}

TEST(GrammarMatcher, TokensById) {
  const auto matcher =
      MatcherOf(GrammarPiece::Sequence({GrammarPiece::Token(Words().control()), GrammarPiece::Literal("ab")}));
  std::vector<uint32_t> mask(Words().get()->mask_words());
  ASSERT_TRUE(matcher->FillMask(mask).ok());
  int count = 0;
  for (const uint32_t word : mask) count += std::popcount(word);
  EXPECT_EQ(count, 1);
  EXPECT_FALSE(matcher->AcceptBytes("ab"));
  EXPECT_TRUE(matcher->Accept(Words().control()));
  EXPECT_EQ(matcher->ForcedBytes(), "ab");
  EXPECT_TRUE(matcher->AcceptBytes("ab"));
  EXPECT_TRUE(matcher->MustEnd());
  EXPECT_TRUE(matcher->Accept(Words().end()));
  EXPECT_TRUE(matcher->Finished());
  EXPECT_FALSE(matcher->FillMask(mask).ok());
  matcher->Rollback(1);
  EXPECT_FALSE(matcher->Finished());
}

TEST(GrammarMatcher, DeepNestingEndsInsteadOfTheStack) {
  const auto matcher = MatcherOf(GrammarPiece::JsonAny());
  size_t depth = 0;
  while (depth < 10'000 && matcher->AcceptBytes("[")) ++depth;
  EXPECT_GE(depth, 200U);
  EXPECT_LT(depth, 1000U);
  std::vector<uint32_t> mask(Words().get()->mask_words());
  ASSERT_TRUE(matcher->FillMask(mask).ok());
  for (TokenId token = 0; token < static_cast<TokenId>(Words().texts().size()); ++token) {
    EXPECT_EQ((mask[static_cast<size_t>(token) / 32] >> (token % 32) & 1) != 0, matcher->Clone()->Accept(token))
        << token;
  }
}

}  // namespace
}  // namespace lem
