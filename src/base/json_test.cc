#include "base/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lem {
namespace {

std::string RoundTrip(std::string_view text) {
  JsonWriter writer;
  writer.Value(*ParseJson(text));
  return writer.Take();
}

TEST(JsonTest, KeepsOrderAndNumbers) {
  EXPECT_EQ(RoundTrip(R"({"b":1,"a":[true,false,null,-2,0.95,18446744073709551615],"s":"\u00e9\n"})"),
            "{\"b\":1,\"a\":[true,false,null,-2,0.95,18446744073709551615],\"s\":\"\xc3\xa9\\n\"}");
}

TEST(JsonTest, RefusesWhatIsNotJson) {
  for (const char* bad :
       {"", "{", "[1,]", "NaN", "{\"a\":NaN}", "1 2", "'x'", "{\"a\" 1}", "\"\xff\"", "nul", "// x\n1"}) {
    EXPECT_EQ(ParseJson(bad).status().code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(JsonTest, LimitsDepthAndSize) {
  EXPECT_TRUE(ParseJson(std::string(200, '[') + std::string(200, ']')).ok());
  EXPECT_NE(ParseJson(std::string(100'000, '[')).status().message().find("200 levels"), std::string::npos);
  EXPECT_NE(ParseJson("[1,2,3]", {.max_bytes = 3}).status().message().find("at most 3"), std::string::npos);
}

TEST(JsonWriterTest, NestsAndEscapes) {
  JsonWriter writer;
  writer.BeginObject().Key("a").BeginArray().Int(1).Double(1).Double(0.1).Double(std::nan("")).EndArray();
  writer.Key("q\"")
      .String(std::string_view("\x01\\\xc3(\xf0\x9f\x98\x80\xed\xa0\x80", 11))
      .Key("e")
      .BeginObject()
      .EndObject();
  writer.EndObject();
  EXPECT_EQ(
      writer.text(),
      "{\"a\":[1,1.0,0.1,null],\"q\\\"\":\"\\u0001\\\\\xef\xbf\xbd(\xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd\xef\xbf"
      "\xbd\",\"e\":{}}");
  EXPECT_TRUE(ParseJson(writer.text()).ok());
}

TEST(JsonWriterTest, DoublesReadBackEqual) {
  for (const double value : {1e300, -1e-300, 0.1 + 0.2, std::numeric_limits<double>::denorm_min(), -0.0}) {
    JsonWriter writer;
    writer.Double(value);
    EXPECT_EQ(ParseJson(writer.text())->as_double(), value) << writer.text();
  }
}

}  // namespace
}  // namespace lem
