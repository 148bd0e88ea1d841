// Every expression of the pre-tokenisers against PCRE2, and the rules that are no expression by hand.
#include "text/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include "text/pretokenizer_families.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace lem {
namespace {

using testing::ElementsAre;

std::vector<std::string> Pieces(const PreTokenizer& pre_tokenizer, std::string_view text) {
  std::vector<std::string> out;
  size_t offset = 0;
  for (const size_t size : pre_tokenizer.Split(text)) {
    out.emplace_back(text.substr(offset, size));
    offset += size;
  }
  EXPECT_EQ(offset, text.size());
  return out;
}

std::vector<std::string> Pieces(std::string_view name, std::string_view text) {
  auto pre_tokenizer = PreTokenizer::Create(name);
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status().ToString();
  return Pieces(*pre_tokenizer, text);
}

// One rule, as PCRE2 understands it.
class Oracle {
 public:
  explicit Oracle(std::string_view rule) {
    const std::string pattern = Translate(rule);
    int error = 0;
    size_t offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY, &error, &offset, nullptr));
    EXPECT_NE(code_, nullptr) << pattern << " at " << offset;
    match_.reset(pcre2_match_data_create(16, nullptr));
  }

  // Matches and the gaps between them.
  std::vector<std::string> Split(const std::string& text) const {
    std::vector<std::string> out;
    size_t gap = 0;
    while (gap < text.size()) {
      const int count = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), gap,
                                    PCRE2_NOTEMPTY, match_.get(), nullptr);
      if (count < 0) break;
      const size_t* range = pcre2_get_ovector_pointer(match_.get());
      if (range[0] > gap) out.push_back(text.substr(gap, range[0] - gap));
      out.push_back(text.substr(range[0], range[1] - range[0]));
      gap = range[1];
    }
    if (gap < text.size()) out.push_back(text.substr(gap));
    return out;
  }

 private:
  // [a--b] becomes (?![b])[a]; \p{Han} is by blocks in ours and by script in PCRE2's.
  static std::string Translate(std::string_view rule) {
    std::string out;
    for (size_t i = 0; i < rule.size();) {
      const std::string_view rest = rule.substr(i);
      const size_t size = rest.starts_with(kHan) ? kHan.size()
                          : rest[0] == '['       ? ClassSize(rest)
                          : rest[0] == '\\'      ? 2
                                                 : 1;
      const std::string_view part = rest.substr(0, size);
      const size_t minus = part.find("--");
      if (part == kHan) {
        out += "[" + std::string(kHanBlocks) + "]";
      } else if (rest[0] == '[' && minus != std::string_view::npos) {
        const std::string_view excluded = part.substr(minus + 2);
        out += "(?:(?![" + (excluded == "\\p{Han}]" ? std::string(kHanBlocks) + "]" : std::string(excluded)) + ")" +
               std::string(part.substr(0, minus)) + "])";
      } else {
        out += part;
      }
      i += size;
    }
    return out;
  }
  static constexpr std::string_view kHan = "\\p{Han}";
  static constexpr std::string_view kHanBlocks =
      "\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\U00020000-\U0002A6DF\U0002A700-\U0002EBEF\U0002F800-\U0002FA1F";
  static size_t ClassSize(std::string_view text) {
    size_t i = 1;
    while (text[i] != ']') i += text[i] == '\\' ? 2 : 1;
    return i + 1;
  }

  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

// Strings of what the expressions tell apart. No white space above ASCII but U+00A0: llama.cpp's ranges do not hold it.
std::string RandomText(std::mt19937& random) {
  static const std::vector<std::string> kAtoms = {
      "a",      "B",      "z",      "Q",    "'",    "'s",   "'RE",    "'ll",    "é",         "É",
      "ß",      "ǅ",      "ʰ",      "漢",   "字",   "か",   "カ",     "한",     "ㄱ",        "ㄅ",
      "а",      "Я",      "ﬁ",      "ª",    "0",    "12",   "345",    "٣",      "½",         "Ⅷ",
      " ",      "  ",     "\n",     "\n\n", "\r\n", "\t",   "\u00A0", "!",      "?",         ".",
      ",",      "/",      "-",      "_",    "(",    ")",    "[",      "]",      "{",         "<",
      ">",      "=",      "+",      "$",    "^",    "`",    "|",      "~",      "#",         "\"",
      "\\",     "。",     "、",     "…",    "“",    "”",    "€",      "™",      "😀",        "👍🏽",
      "\u200D", "\u0301", "\u093F", "ไทย",  "ລາວ",  "ខ្មែរ", "\x01",   "\u200B", "IMGIMGABZ", "<sentinel:3>",
      "    "};
  std::string out;
  const size_t count = 1 + random() % 24;
  // Few atoms repeated make long runs and near misses.
  const size_t spread = random() % 3 == 0 ? kAtoms.size() : 4;
  const size_t base = random() % kAtoms.size();
  for (size_t i = 0; i < count; ++i) out += kAtoms[(base + random() % spread) % kAtoms.size()];
  return out;
}

TEST(PreTokenizerTest, ExpressionsAgreeWithPcre2) {
  std::mt19937 random(1);
  size_t num_compared = 0;
  for (const PreTokenizerFamily& family : PreTokenizerFamilies()) {
    std::vector<Oracle> oracles;
    bool only_expressions = true;
    for (const std::string_view rule : family.rules) {
      only_expressions = only_expressions && rule != kGroupNumbersByThree && rule != kCutDigitsByThree;
      if (only_expressions) oracles.emplace_back(rule);
    }
    if (!only_expressions) continue;
    SCOPED_TRACE(std::string(family.names.back()));
    auto pre_tokenizer = PreTokenizer::Create(family.names.front());
    ASSERT_TRUE(pre_tokenizer.ok());
    for (int i = 0; i < 400; ++i) {
      const std::string text = RandomText(random);
      std::vector<std::string> expected = {text};
      for (const Oracle& oracle : oracles) {
        std::vector<std::string> next;
        for (const std::string& piece : expected) {
          for (std::string& part : oracle.Split(piece)) next.push_back(std::move(part));
        }
        expected.swap(next);
      }
      ASSERT_EQ(Pieces(*pre_tokenizer, text), expected) << testing::PrintToString(text);
      ++num_compared;
    }
  }
  EXPECT_GT(num_compared, 10000U);
}

TEST(PreTokenizerTest, KnownSplits) {
  EXPECT_THAT(Pieces("gpt-2", "Hello  world's 123!"), ElementsAre("Hello", " ", " world", "'s", " 123", "!"));
  EXPECT_THAT(Pieces("llama-bpe", "x1234  \n y"), ElementsAre("x", "123", "4", "  \n", " y"));
  EXPECT_THAT(Pieces("qwen2", "I'M 12"), ElementsAre("I", "'M", " ", "1", "2"));
  EXPECT_THAT(Pieces("gpt-4o", "camelCase's"), ElementsAre("camel", "Case's"));
  EXPECT_THAT(Pieces("gemma4", "a b\n\nc"), ElementsAre("a b", "\n\n", "c"));
  EXPECT_THAT(Pieces("", ""), ElementsAre());
}

TEST(PreTokenizerTest, NumbersByThreeKeepWhatStandsBeforeThem) {
  // The first rule gives "ab12", "345", " 678", "x"; the second parts letters from numbers.
  EXPECT_THAT(Pieces("afmoe", "ab12345 678x"), ElementsAre("ab", "12", "345", " ", "678", "x"));
  EXPECT_THAT(Pieces("tiny_aya", "1234567"), ElementsAre("1", "234", "567"));
}

TEST(PreTokenizerTest, DigitsByThreeFromTheEnd) {
  EXPECT_THAT(Pieces("superbpe", "a12345b678"), ElementsAre("a", "12", "345", "b", "678"));
  EXPECT_THAT(Pieces("superbpe", "٣1234"), ElementsAre("٣1", "234"));
}

TEST(PreTokenizerTest, WhiteSpaceAboveAsciiIsInNoRange) {
  // U+3000 lies in a range of punctuation in the expression, but llama.cpp sees a vertical tab.
  EXPECT_THAT(Pieces("deepseek-llm", "!\u3000!"), ElementsAre("!", "\u3000!"));
}

TEST(PreTokenizerTest, UnknownNameIsUnimplemented) {
  const auto result = PreTokenizer::Create("gpt-9");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kUnimplemented);
  EXPECT_THAT(result.status().message(), testing::HasSubstr("gpt-9"));
}

// A quadratic scan would take hours here.
TEST(PreTokenizerTest, LongRunsTakeLinearTime) {
  for (const PreTokenizerFamily& family : PreTokenizerFamilies()) {
    auto pre_tokenizer = PreTokenizer::Create(family.names.front());
    ASSERT_TRUE(pre_tokenizer.ok());
    for (const std::string_view unit : {"a", "A", " ", "\n", " \n", "1", "!", "漢", "😀", "\u0301", "'", "Aa"}) {
      std::string text;
      while (text.size() < 250000) text += unit;
      size_t total = 0;
      for (const size_t size : pre_tokenizer->Split(text + "x")) total += size;
      EXPECT_EQ(total, text.size() + 1);
    }
  }
}

}  // namespace
}  // namespace lem
