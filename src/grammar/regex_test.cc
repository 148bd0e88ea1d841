#include <gtest/gtest.h>

#include <random>
#include <regex>

#include "base/json.h"
#include "grammar/builder.h"
#include "grammar/languages.h"
#include "text/utf8.h"

namespace lem {
namespace {

bool Matches(std::string_view pattern, std::string_view text, RegexMatch match = RegexMatch::kWhole) {
  GrammarBuilder builder({});
  const auto expr = CompileRegex(builder, builder.utf8(), pattern, match);
  if (!expr.ok()) {
    ADD_FAILURE() << expr.status().message();
    return false;
  }
  return builder.exprs().Matches(*expr, text);
}

std::string ErrorOf(std::string_view pattern) {
  GrammarBuilder builder({});
  const auto expr = CompileRegex(builder, builder.utf8(), pattern, RegexMatch::kWhole);
  return expr.ok() ? "" : expr.status().message();
}

TEST(Regex, Matches) {
  EXPECT_TRUE(Matches("a(b|c)*d", "abcbd"));
  EXPECT_FALSE(Matches("a(b|c)*d", "abcb"));
  EXPECT_TRUE(Matches("[a-c_\\d]{2,3}", "a_7"));
  EXPECT_FALSE(Matches("[a-c_\\d]{2,3}", "a_7b"));
  EXPECT_TRUE(Matches("(?i)straße", "STRAßE"));
  EXPECT_TRUE(Matches("\\u00e9\\x41\\u{1F600}", "\u00e9A\U0001F600"));
  EXPECT_TRUE(Matches("\\ud83d\\ude00", "\U0001F600"));
  EXPECT_TRUE(Matches("[^\\s]+", "caf\u00e9"));
  EXPECT_FALSE(Matches(".", "\n"));
  EXPECT_TRUE(Matches("(?s).", "\n"));
  EXPECT_TRUE(Matches("\\p{Lu}\\p{L}*", "\u00c9t\u00e9"));
  EXPECT_FALSE(Matches("\\p{Lu}", "\u00e9"));
  EXPECT_TRUE(Matches("a{x}", "a{x}"));
  EXPECT_TRUE(Matches("[\\w-.]+", "a-b.c"));
  EXPECT_TRUE(Matches("a*?b+?", "aab"));
  EXPECT_TRUE(Matches("[[:xdigit:]]+", "beEF01"));
  EXPECT_FALSE(Matches("[]", ""));
}

TEST(Regex, SearchAndAnchors) {
  const auto search = [](std::string_view pattern, std::string_view text) {
    return Matches(pattern, text, RegexMatch::kSearch);
  };
  EXPECT_TRUE(search("b", "abc"));
  EXPECT_FALSE(search("^b", "abc"));
  EXPECT_TRUE(search("c$", "abc"));
  EXPECT_TRUE(search("^a|x$", "abc"));
  EXPECT_TRUE(search("^a|x$", "bcx"));
  EXPECT_FALSE(search("^a|x$", "bxc"));
  EXPECT_TRUE(search("^(a|b$)", "b"));
  EXPECT_FALSE(search("^(a|b$)", "bc"));
  EXPECT_TRUE(search("(^$|^x+$)", ""));
  EXPECT_TRUE(search("^$", ""));
  EXPECT_FALSE(search("^$", "a"));
  EXPECT_FALSE(search("a$b", "ab"));
  EXPECT_TRUE(search("(^)?b", "ab"));
}

TEST(Regex, RefusesByName) {
  EXPECT_NE(ErrorOf("(?=a)").find("look-around"), std::string::npos);
  EXPECT_NE(ErrorOf("(?<!a)b").find("look-around"), std::string::npos);
  EXPECT_NE(ErrorOf("(a)\\1").find("back-references"), std::string::npos);
  EXPECT_NE(ErrorOf("\\bword").find("word boundaries"), std::string::npos);
  EXPECT_NE(ErrorOf("(^a)*").find("anchor"), std::string::npos);
  EXPECT_NE(ErrorOf("\\p{Script=Greek}").find("property"), std::string::npos);
  for (const char* pattern :
       {"(", ")", "[a", "a**+", "*a", "a{3,2}", "\\", "(?P<x", "[b-a]", "\\u12", "(?x)a", "\xFF", "a{99999999}"}) {
    EXPECT_NE(ErrorOf(pattern), "") << pattern;
  }
  EXPECT_NE(ErrorOf(std::string(100'000, '(')).find("200"), std::string::npos);
}

TEST(Regex, TimeIsLinear) {
  EXPECT_FALSE(Matches("(a*)*b", std::string(20'000, 'a')));
  EXPECT_TRUE(Matches("(a?){300}a{300}", std::string(300, 'a')));
}

// Random patterns over two letters against the standard library's matcher, on all short texts.
class RandomPattern {
 public:
  explicit RandomPattern(unsigned seed) : random_(seed) {}
  std::string Make(int depth) {
    switch (depth == 0 ? random_() % 3 : random_() % 8) {
      case 0:
        return "a";
      case 1:
        return "b";
      case 2:
        return "[ab]";
      case 3:
        return Make(depth - 1) + Make(depth - 1);
      case 4:
        return "(?:" + Make(depth - 1) + "|" + Make(depth - 1) + ")";
      case 5:
        return "(?:" + Make(depth - 1) + ")*";
      case 6:
        return "(?:" + Make(depth - 1) + "){1,2}";
      default:
        return "(?:" + Make(depth - 1) + ")?";
    }
  }

 private:
  std::mt19937 random_;
};

TEST(Regex, AgreesWithTheStandardLibrary) {
  std::vector<std::string> texts{""};
  for (size_t i = 0; texts[i].size() < 6; ++i) {
    for (const char c : {'a', 'b'}) texts.push_back(texts[i] + c);
  }
  for (unsigned seed = 0; seed < 150; ++seed) {
    const std::string pattern = RandomPattern(seed).Make(4);
    const std::regex expected(pattern);
    GrammarBuilder builder({});
    const auto whole = CompileRegex(builder, builder.utf8(), pattern, RegexMatch::kWhole);
    const auto search = CompileRegex(builder, builder.utf8(), pattern, RegexMatch::kSearch);
    ASSERT_TRUE(whole.ok() && search.ok()) << pattern;
    // Intersections and complements of two ways to say the same.
    const ExprId both = builder.exprs().And(*whole, builder.exprs().Not(*search));
    EXPECT_FALSE(builder.exprs().Alive(both)) << pattern;
    for (const std::string& text : texts) {
      ASSERT_EQ(builder.exprs().Matches(*whole, text), std::regex_match(text, expected)) << pattern << " on " << text;
      ASSERT_EQ(builder.exprs().Matches(*search, text), std::regex_search(text, expected)) << pattern << " on " << text;
    }
  }
}

TEST(CodePointCoder, EveryCharacterOfEverySet) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    ExprSet exprs;
    CodePointCoder utf8(exprs, TextForm::kUtf8), json(exprs, TextForm::kJsonString);
    CodePointSet set;
    for (int i = 0; i < 3; ++i) {
      const char32_t low = random() % (round % 2 == 0 ? 0x300 : 0x110000);
      set.Add(low, std::min<char32_t>(kMaxCodePoint, low + random() % 0x900));
    }
    const ExprId raw = utf8.Encode(set), escaped = json.Encode(set);
    for (int i = 0; i < 3000; ++i) {
      const char32_t value = random() % (i % 2 == 0 ? 0x1000 : 0x110000);
      if (value >= 0xD800 && value < 0xE000) continue;
      std::string text;
      AppendUtf8(value, text);
      ASSERT_EQ(exprs.Matches(raw, text), set.Has(value)) << std::hex << static_cast<uint32_t>(value);
      const std::string quoted = JsonQuote(text);
      ASSERT_EQ(exprs.Matches(escaped, quoted.substr(1, quoted.size() - 2)), set.Has(value)) << quoted;
      if (value > 0x7E && value < 0x10000) {
        ASSERT_EQ(exprs.Matches(escaped, fmt::format("\\u{:04X}", static_cast<uint32_t>(value))), set.Has(value));
      } else if (value > 0xFFFF) {
        const auto bits = static_cast<uint32_t>(value - 0x10000);
        ASSERT_EQ(
            exprs.Matches(escaped, fmt::format("\\u{:04x}\\u{:04X}", 0xD800 + (bits >> 10), 0xDC00 + (bits & 1023))),
            set.Has(value));
      }
    }
  }
}

}  // namespace
}  // namespace lem
