#include "base/toml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
  EXPECT_FALSE(ParseToml("a = 1\n [[ [b]]", "x.toml").ok());
  EXPECT_TRUE(ParseToml("a = [\n[1, 2]]\n[[ \"b\" ]]\n", "x.toml").ok());
  EXPECT_FALSE(ParseToml(std::string(2 << 20, '#'), "x.toml").ok());
}

}  // namespace
}  // namespace lem
