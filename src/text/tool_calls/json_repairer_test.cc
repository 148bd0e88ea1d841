#include "text/tool_calls/json_repairer.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace lem {
namespace {

struct Repaired {
  std::string json;
  bool repaired = false, failed = false;
};

// `step` bytes at a time.
Repaired Repair(std::string_view text, size_t step) {
  JsonRepairer repairer;
  Repaired result;
  for (size_t i = 0; i < text.size(); i += step) {
    const std::string_view piece = text.substr(i, step);
    if (repairer.Append(piece, result.json) < piece.size()) break;
  }
  result.failed = repairer.failed();
  repairer.Finish(result.json);
  result.repaired = repairer.repaired();
  return result;
}

TEST(JsonRepairer, PassesValidJsonUnchanged) {
  for (const std::string_view text :
       {R"({"a": [1, -2.5e+3, true, false, null], "b": {"c": "x\n\"\u00e9\ud83d\ude00/"}, "": []})", "[]", "{}",
        "[ {\n\t} , 0 ]", R"("text")", "[-0, 1E5]", "[\"\u00e9\u4e2d\"]"}) {
    for (const size_t step : {size_t{1}, size_t{3}, text.size()}) {
      const Repaired result = Repair(text, step);
      EXPECT_EQ(result.json, text);
      EXPECT_FALSE(result.repaired) << text;
      EXPECT_FALSE(result.failed) << text;
    }
  }
}

TEST(JsonRepairer, Repairs) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {R"({"a": 1,})", R"({"a": 1})"},
      {R"({"a": [1, 2,], })", R"({"a": [1, 2] })"},
      {R"({"a": [1, 2)", R"({"a": [1, 2]})"},
      {R"({"a": {"b": [1})", R"({"a": {"b": [1]}})"},
      {R"({"a": "cut)", R"({"a": "cut"})"},
      {R"({"a": "cut\)", R"({"a": "cut\\"})"},
      {R"({"a": "\u00)", R"({"a": "\\u00"})"},
      {R"({"a": True, "b": False, "c": None})", R"({"a": true, "b": false, "c": null})"},
      {R"({'a': 'it\'s "so"'})", R"({"a": "it's \"so\""})"},
      {R"({a: 1, b-c: 2})", R"({"a": 1, "b-c": 2})"},
      {R"({"a": 1 "b": 2})", R"({"a": 1 ,"b": 2})"},
      {R"({"a": 1,, "b": 2})", R"({"a": 1, "b": 2})"},
      {R"({"a": , "b":})", R"({"a": null, "b":null})"},
      {R"({"a"})", R"({"a":null})"},
      {"[+1, .5, -.5, 2., 007, NaN]", "[1, 0.5, -0.5, 2.0, 7, null]"},
      {"[\"a\nb\tc\x01\"]", R"(["a\nb\tc\u0001"])"},
      {R"(["\d\x41"])", R"(["\\d\\x41"])"},
      {R"(["\ud83d"])", R"(["\ufffd"])"},
      {R"(["\ude00x"])", R"(["\ufffdx"])"},
      {R"(["\ud83d\n\ud83d\ud83d\ude00"])", R"(["\ufffd\n\ufffd\ud83d\ude00"])"},
      {R"(["\u12g4"])", R"(["\\u12g4"])"},
      {"", "null"},
  };
  for (const auto& [text, expected] : cases) {
    for (const size_t step : {size_t{1}, size_t{2}, std::max(text.size(), size_t{1})}) {
      const Repaired result = Repair(text, step);
      EXPECT_EQ(result.json, expected) << text;
      EXPECT_TRUE(result.repaired) << text;
      EXPECT_FALSE(result.failed) << text;
      EXPECT_TRUE(ParseJson(result.json).ok()) << result.json;
    }
  }
}

TEST(JsonRepairer, FailsWhereNoRepairIsClear) {
  for (const std::string_view text : {"hello ", "{\"a\": hello}", "[1 : 2]", "{\"a\" 1}", "{<b>}", "}"}) {
    const Repaired result = Repair(text, 1);
    EXPECT_TRUE(result.failed) << text;
    EXPECT_TRUE(ParseJson(result.json).ok()) << text << ": " << result.json;
  }
}

TEST(JsonRepairer, StopsBehindTheValue) {
  JsonRepairer repairer;
  std::string json;
  EXPECT_EQ(repairer.Append("{\"a\": 1} and text", json), 8u);
  EXPECT_TRUE(repairer.done());
  EXPECT_EQ(json, "{\"a\": 1}");
  JsonRepairer number;
  json.clear();
  EXPECT_EQ(number.Append("12, x", json), 2u);
  EXPECT_TRUE(number.done());
  EXPECT_FALSE(number.failed());
  EXPECT_EQ(json, "12");
}

TEST(JsonRepairer, DepthIsLimited) {
  const Repaired result = Repair(std::string(100000, '['), 1000);
  EXPECT_TRUE(result.failed);
  EXPECT_LT(result.json.size(), 1000u);
}

}  // namespace
}  // namespace lem
