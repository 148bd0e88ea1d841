#include "base/toml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace lem {
namespace {

TEST(TomlTest, KeepsTypesOrderAndPositions) {
  const Result<TomlValue> parsed = ParseToml(
      "zeta = 'text'\n"
      "alpha = [1, 2.5, true]\n"
      "[section]\n"
      "  when = 2026-11-22\n",
      "x.toml");
  ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
  const TomlValue::Table& table = *parsed->As<TomlValue::Table>();
  ASSERT_EQ(table.size(), 3u);
  EXPECT_EQ(table[0].key, "zeta");
  EXPECT_EQ(*table[0].value.As<std::string>(), "text");
  EXPECT_EQ(table[1].key, "alpha");
  EXPECT_EQ(table[1].key_position.line, 2u);
  EXPECT_EQ(table[1].value.position.column, 9u);
  const TomlValue::Array& list = *table[1].value.As<TomlValue::Array>();
  EXPECT_EQ(*list[0].As<int64_t>(), 1);
  EXPECT_EQ(*list[1].As<double>(), 2.5);
  EXPECT_EQ(*list[2].As<bool>(), true);
  EXPECT_EQ(list[0].As<double>(), nullptr);
  EXPECT_EQ(list[1].TypeName(), "a number");
  const TomlMember& when = table[2].value.As<TomlValue::Table>()->front();
  EXPECT_EQ(when.value.TypeName(), "a date");
  EXPECT_EQ(when.key_position.line, 4u);
  EXPECT_EQ(when.key_position.column, 3u);
}

TEST(TomlTest, SaysWhereTheErrorIs) {
  const Status status = ParseToml("a = 1\nb = = 2\n", "x.toml").status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), testing::StartsWith("x.toml:2:5: "));
  EXPECT_FALSE(ParseToml("a = 1\na = 2\n", "x.toml").ok());
  EXPECT_FALSE(ParseToml("a = \"\xff\"\n", "x.toml").ok());
  EXPECT_FALSE(ParseToml("a = " + std::string(100000, '['), "x.toml").ok());
  EXPECT_FALSE(ParseToml(std::string(2 << 20, '#'), "x.toml").ok());
}

std::string Error(std::string_view text) { return std::string(ParseToml(text, "x.toml").status().message()); }

TEST(TomlTest, BrokenLinesAreErrorsOfTheirLine) {
  for (const std::string_view header :
       {"[=",     "[[=",   "[ =]", "[\t]x]",  "[=[x]]", "[[ [",   "[[[[a]]", "[.a]",      "[[ .a ]]",
        "[#]",    "[[#",   "[\n]", "[[\na]]", "[",      "[[",     "[]",      "[[]]",      "[ [a]]",
        "[\x01]", "[a",    "[[a]", "[a]]",    "[a.]",   "[a..b]", "[\"a]",   "['''a''']", "[\xff]",
        "[Ü]",    "[[Ü]]", "[a]Ü", "Ü = 1",   "x = Ü",  "x = 1Ü"}) {
    for (const std::string_view before : {"", " ", "\t", "x = '''\n[=]\n'''\n[y]\n", "x = [\n[ [1]],\n[]] # [=\n"}) {
      const std::string text = std::string(before) + std::string(header);
      const std::string at = "x.toml:" + std::to_string(1 + std::ranges::count(before, '\n')) + ":";
      EXPECT_THAT(Error(text), testing::StartsWith(at)) << text;
      EXPECT_THAT(Error(text + "\na = 1\n"), testing::StartsWith(at)) << text;
    }
  }
  EXPECT_EQ(Error("a = 1\n[=x]\nb = 2\n"), "x.toml:2:1: expected a table header such as [server] or [[model]]");
}

TEST(TomlTest, WhatLooksLikeABrokenHeaderMayBeFine) {
  for (const std::string_view text :
       {"a = [\n[ [1, 2]],\n[[ 3 ]],\n[],\n[{}]]\n[[ \"b\" ]]\n", "a = '''\n[=x]\n[[ [\n'''",
        "a = \"\"\"\n[=x]\n\\\"\"\"\n[.]\n\"\"\"", "# \"\"\"\n[a]\n# [=", "[\"]\"]\n['=[x]'.b]\n['']",
        "a = \"\"\"\\\n  Ü\\\n漢\"\"\" # Ü\n['Ü']\n", "[ a . \"b.c\" ] # [=\n[[\t'd' ]]\n",
        "a = { b = [\n[\n[ ]]] }\n"}) {
    EXPECT_TRUE(ParseToml(text, "x.toml").ok()) << text << "\n" << Error(text);
  }
}

std::string Repeated(std::string_view text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

TEST(TomlTest, DeepKeysAreErrors) {
  const std::string dots = "a" + Repeated(" . 'a.b'", 16);
  EXPECT_TRUE(ParseToml(dots + " = 1\n[b." + Repeated("\"a\".", 15) + "a]\n", "x.toml").ok());
  EXPECT_EQ(Error("x = 1\n" + dots + ".a = 1"), "x.toml:2:1: a key has more than 16 dots");
  EXPECT_EQ(Error("[" + Repeated("\"#\\\"\".'=\"'.", 90000) + "a]"), "x.toml:1:1: a key has more than 16 dots");
  EXPECT_FALSE(ParseToml("a = { b" + Repeated(".b", 500000) + " = 1 }", "x.toml").ok());
  EXPECT_EQ(Error("a = ['''b'''', {" + dots + ".a = 1}, '']"), "x.toml:1:1: a key has more than 16 dots");
  // As deep as it gets.
  const std::string deepest = Repeated("b" + Repeated(".b", 16) + " = {", 255) + "c = 1" + Repeated("}", 255);
  EXPECT_TRUE(ParseToml(deepest, "x.toml").ok()) << Error(deepest);
  EXPECT_FALSE(ParseToml("b = {" + deepest + "}", "x.toml").ok());
}

TEST(TomlTest, DotsThatAreInNoKeyDoNotCount) {
  const std::string many = Repeated(".", 100);
  EXPECT_TRUE(ParseToml("a = '" + many + "' # " + many + "\nb = \"\"\"\n" + many + "\"\"\"\n", "x.toml").ok());
  EXPECT_TRUE(ParseToml("a = [" + Repeated("1.5, ", 100) + "]", "x.toml").ok());
}

}  // namespace
}  // namespace lem
