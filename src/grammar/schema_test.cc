// JSON Schema: what is accepted byte by byte, what is refused by name, and what limits say.
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "base/json.h"
#include "grammar/grammar.h"

namespace lem {
namespace {

bool Accepts(std::string_view schema, std::string_view text, JsonWhitespace whitespace = JsonWhitespace::kFree) {
  static const auto vocabulary = [] {
    const std::string texts[] = {"a", "b"};
    const TokenId ends[] = {1};
    return GrammarVocabulary::FromTexts(texts, ends);
  }();
  const auto grammar = Grammar::Compile(GrammarPiece::JsonSchema(schema, whitespace));
  if (!grammar.ok()) {
    ADD_FAILURE() << schema << ": " << grammar.status().message();
    return false;
  }
  const auto matcher = GrammarMatcher::Create(*grammar, vocabulary);
  const bool accepted = matcher->AcceptBytes(text) && matcher->MayEnd();
  EXPECT_TRUE(matcher->status().ok()) << matcher->status().message();
  return accepted;
}

std::string ErrorOf(std::string_view schema) {
  const auto grammar = Grammar::Compile(GrammarPiece::JsonSchema(schema));
  if (grammar.ok()) return "";
  EXPECT_EQ(grammar.status().code(), StatusCode::kInvalidArgument);
  return grammar.status().message();
}

struct Case {
  const char* schema;
  std::vector<const char*> valid, invalid;
};

void Check(const std::vector<Case>& cases) {
  for (const Case& one : cases) {
    for (const char* text : one.valid) EXPECT_TRUE(Accepts(one.schema, text)) << one.schema << " and " << text;
    for (const char* text : one.invalid) EXPECT_FALSE(Accepts(one.schema, text)) << one.schema << " and " << text;
  }
}

TEST(JsonSchema, Objects) {
  Check({
      {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["b"]})",
       {R"({"b":"x"})", R"({"a": 1, "b": ""})", R"({"b": "x", "z": [1]})", "{\n  \"a\": 1,\n  \"b\": \"\"\n}"},
       {"{}", R"({"a":1})", R"({"b":"x","a":1})", R"({"b":1})", R"({"b":"x","b":"y"})", "[]"}},
      {R"({"type":"object","properties":{"a":{}},"additionalProperties":false})",
       {"{}", R"({"a":null})"},
       {R"({"b":1})"}},
      {R"({"type":"object","additionalProperties":{"type":"boolean"},"minProperties":1,"maxProperties":2})",
       {R"({"x":true})", R"({"x":true,"y":false})"},
       {"{}", R"({"x":1})", R"({"x":true,"y":false,"z":true})"}},
      {R"({"type":"object","patternProperties":{"^x":{"type":"integer"},"y$":{"minimum":5}},"additionalProperties":false})",
       {R"({"x":1})", R"({"y":"s"})", R"({"xy":7})"},
       {R"({"xy":3})", R"({"z":1})", R"({"y":4})", R"({"x":"s"})"}},
      {R"({"type":"object","properties":{"xa":{"maximum":3}},"patternProperties":{"^x":{"type":"integer"}}})",
       {R"({"xa":3})"},
       {R"({"xa":4})", R"({"xa":2.5})"}},
      {R"({"type":"object","propertyNames":{"pattern":"^[a-z]+$"}})", {R"({"abc":1})"}, {R"({"aB":1})"}},
      {R"({"required":["r"]})", {R"({"r":1})", "3", "\"s\""}, {"{}", R"({"q":1})"}},
      {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"},"c":{"type":"integer"}},
           "additionalProperties":false,"minProperties":2})",
       {R"({"a":1,"c":2})", R"({"a":1,"b":2,"c":3})"},
       {R"({"a":1})", "{}"}},
  });
}

TEST(JsonSchema, NamesThatAreWrittenInOtherWays) {
  // A listed name must not come back as an additional one, however it is spelled.
  const char* schema =
      R"({"type":"object","properties":{"a\"é":{"type":"integer"}},"additionalProperties":{"type":"string"}})";
  EXPECT_TRUE(Accepts(schema, R"({"a\"é":1})"));
  EXPECT_TRUE(Accepts(schema, R"({"a\"\u00e9":1})"));
  EXPECT_FALSE(Accepts(schema, R"({"a\"é":"x"})"));
  EXPECT_FALSE(Accepts(schema, R"({"a\"\u00E9":"x"})"));
  EXPECT_FALSE(Accepts(schema, R"({"\u0061\"é":"x"})"));
}

TEST(JsonSchema, Arrays) {
  Check({
      {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
       {"[1]", "[1, 2,3]"},
       {"[]", "[1,2,3,4]", "[\"a\"]", "[1,]"}},
      {R"({"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":false})",
       {"[]", "[\"a\"]", "[\"a\", 1]"},
       {"[1]", "[\"a\",1,2]"}},
      {R"({"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"integer"},"minItems":3})",
       {"[\"a\",1,2]", "[\"a\",1,2,3]"},
       {"[\"a\",1]", "[\"a\",1,\"b\"]"}},
      {R"({"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"null"}],"additionalItems":{"type":"boolean"}})",
       {"[null,true]", "7"},
       {"[true]", "[null,null]"}},
      {R"({"type":"array","maxItems":0})", {"[]", "[ ]"}, {"[1]"}},
      {R"({"type":"array","items":{"type":"integer"},"uniqueItems":false})", {"[1,1]"}, {}},
  });
}

TEST(JsonSchema, Strings) {
  Check({
      {R"({"type":"string","minLength":2,"maxLength":3})",
       {"\"ab\"", "\"\U0001F600\u00e9\"", R"("\n\\\"")", R"("\ud83d\ude00\u00e9")"},
       {"\"a\"", "\"abcd\"", R"("\ud83d\ude00")", "\"\u00e9\""}},
      {R"({"type":"string","pattern":"b+c"})", {"\"abbcd\""}, {"\"acb\""}},
      {R"({"type":"string","pattern":"^a.c$","maxLength":2})", {}, {}},
      {R"({"type":"string","pattern":"^[a-z]*$","minLength":2,"maxLength":4})",
       {"\"abc\""},
       {"\"a\"", "\"abcde\"", "\"aB\""}},
      {R"({"type":"string","pattern":"^\\n\"$"})", {R"("\n\"")"}, {"\"n\""}},
      {R"({"enum":["a","ab",1,null,[1,{"x":true}]]})",
       {"\"a\"", "\"ab\"", "1", "null", R"([1,{"x":true}])"},
       {"\"abc\"", "2"}},
      {R"({"const":{"b":1,"a":[2.5]}})", {R"({"b":1,"a":[2.5]})"}, {R"({"b":1})", R"({"b":1,"a":[2.5],"c":1})"}},
      {R"({"type":"string","enum":["x",3]})", {"\"x\""}, {"3"}},
  });
}

TEST(JsonSchema, Formats) {
  const auto format = [](const char* name, const char* text) {
    return Accepts(fmt::format(R"({{"type":"string","format":"{}"}})", name), fmt::format("\"{}\"", text));
  };
  for (const auto& [name, text] : {std::pair{"date", "2024-02-29"},
                                   {"date-time", "2026-11-23T02:15:00.5+01:00"},
                                   {"time", "23:59:59Z"},
                                   {"duration", "P1Y2M3DT4H"},
                                   {"email", "a.b+c@example.co.uk"},
                                   {"hostname", "a-b.example"},
                                   {"ipv4", "192.168.0.255"},
                                   {"ipv6", "2001:db8::1"},
                                   {"ipv6", "::ffff:1.2.3.4"},
                                   {"ipv6", "::"},
                                   {"uuid", "123e4567-e89b-12d3-a456-426614174000"},
                                   {"uri", "https://u@example.com:8080/a%20b?q=1#f"},
                                   {"uri", "urn:isbn:0451450523"},
                                   {"uri-reference", "../x?y"},
                                   {"json-pointer", "/a~1b/0"}}) {
    EXPECT_TRUE(format(name, text)) << name << " " << text;
  }
  for (const auto& [name, text] : {std::pair{"date", "2023-02-29"},
                                   {"date", "2026-13-01"},
                                   {"date-time", "2026-11-23 02:15:00Z"},
                                   {"time", "24:00:00Z"},
                                   {"duration", "P"},
                                   {"email", "a@"},
                                   {"email", "a..b@c.de"},
                                   {"hostname", "-a"},
                                   {"ipv4", "256.1.1.1"},
                                   {"ipv4", "01.1.1.1"},
                                   {"ipv6", "1::2::3"},
                                   {"ipv6", "12345::"},
                                   {"uuid", "123e4567"},
                                   {"uri", "no scheme"},
                                   {"uri", "http://a b"},
                                   {"json-pointer", "a"}}) {
    EXPECT_FALSE(format(name, text)) << name << " " << text;
  }
  EXPECT_NE(ErrorOf(R"({"type":"string","format":"colour"})").find("\"colour\""), std::string::npos);
}

TEST(JsonSchema, NumbersAgreeWithArithmetic) {
  std::mt19937 random(3);
  for (int round = 0; round < 150; ++round) {
    const int scale = round % 3 == 0 ? 1 : 4;  // quarters are exact in binary
    const double low = static_cast<double>(static_cast<int>(random() % 400) - 200) / scale;
    const double high = low + static_cast<double>(random() % 300) / scale;
    const bool exclusive_low = random() % 2 == 0, exclusive_high = random() % 2 == 0, integer = random() % 2 == 0;
    const int multiple = random() % 3 == 0 ? 1 + static_cast<int>(random() % 7) : 0;
    const std::string schema = fmt::format(R"({{"type":"{}","{}":{},"{}":{}{}}})", integer ? "integer" : "number",
                                           exclusive_low ? "exclusiveMinimum" : "minimum", low,
                                           exclusive_high ? "exclusiveMaximum" : "maximum", high,
                                           multiple > 0 ? fmt::format(R"(,"multipleOf":{})", multiple) : "");
    const auto fits = [&](double value) {
      return (exclusive_low ? value > low : value >= low) && (exclusive_high ? value < high : value <= high) &&
             (!integer || value == std::floor(value)) && (multiple == 0 || std::fmod(value, multiple) == 0);
    };
    bool any = false;
    for (int quarter = -2200; quarter <= 2200; ++quarter) any |= fits(quarter / 4.0);
    if (!any) continue;
    for (int i = 0; i < 40; ++i) {
      const double value =
          static_cast<double>(static_cast<int>(random() % 4000) - 2000) / (i % 2 == 0 ? 4 : 1) / (i % 3 == 0 ? 10 : 1);
      if (integer && value != std::floor(value)) continue;
      const double exact = std::round(value * 1000) / 1000;
      EXPECT_EQ(Accepts(schema, fmt::format("{}", exact)), fits(exact)) << schema << " and " << exact;
    }
  }
}

TEST(JsonSchema, Numbers) {
  Check({
      {R"({"type":"integer","minimum":-5,"maximum":12})",
       {"-5", "0", "12", "9", "-1"},
       {"-6", "13", "1.0", "01", "-0.5"}},
      {R"({"type":"number","exclusiveMinimum":0})", {"0.001", "12", "1.50"}, {"0", "0.0", "-1", "0e5"}},
      {R"({"type":"number","minimum":0})", {"0", "1e-7", "3.5E+2", "0.0"}, {"-1", "-0.1"}},
      {R"({"type":"number","multipleOf":0.01})", {"1.25", "3", "0.10", "-7.99", "2.500"}, {"0.001", "1.255"}},
      {R"({"type":"integer","multipleOf":7})", {"0", "14", "-21", "700"}, {"1", "15"}},
      {R"({"minimum":5,"exclusiveMinimum":true,"type":"integer"})", {"6"}, {"5"}},
      {R"({"const":1.5})", {"1.5"}, {"1.50", "1"}},
      {R"({"type":"number","const":3})", {"3", "3.0"}, {"3.1"}},
      {R"({"type":"integer","minimum":9007199254740993})", {"9007199254740993"}, {"9007199254740992"}},
  });
}

TEST(JsonSchema, Combinations) {
  Check({
      {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},
                    {"properties":{"a":{"maximum":5},"b":{"type":"string"}},"required":["b"]}]})",
       {R"({"a":5,"b":"x"})"},
       {R"({"a":6,"b":"x"})", R"({"a":5})"}},
      {R"({"anyOf":[{"type":"string","maxLength":1},{"type":"integer"},{"type":"array","items":{"type":"null"}}]})",
       {"\"a\"", "3", "[null]"},
       {"\"ab\"", "true", "[1]"}},
      {R"({"oneOf":[{"type":"object","properties":{"k":{"const":"a"},"x":{"type":"integer"}},"required":["k","x"]},
                    {"type":"object","properties":{"k":{"const":"b"}},"required":["k"]}]})",
       {R"({"k":"a","x":1})", R"({"k":"b"})"},
       {R"({"k":"a"})", R"({"k":"c"})"}},
      {R"({"properties":{"kind":{"enum":["p","q"]}},"required":["kind"],"type":"object",
           "anyOf":[{"properties":{"kind":{"const":"p"},"n":{"type":"integer"}},"required":["n"]},{"properties":{"kind":{"const":"q"}}}]})",
       {R"({"kind":"p","n":1})", R"({"kind":"q"})"},
       {R"({"kind":"p"})"}},
      {R"({"type":["integer","null"]})", {"1", "null"}, {"\"a\"", "1.5"}},
      {"true", {"1", "{}", "[null, \"x\"]"}, {"nul"}},
      {R"({"$ref":"#/$defs/s","maxLength":2,"$defs":{"s":{"type":"string"}}})", {"\"ab\""}, {"\"abc\"", "1"}},
      {R"({"type":"object","allOf":[{"properties":{"a":{"type":"integer"}}}],"properties":{"b":{}},"unevaluatedProperties":false})",
       {R"({"a":1,"b":2})"},
       {R"({"a":1,"b":2,"c":3})"}},
  });
}

TEST(JsonSchema, References) {
  Check({
      {R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},
           "next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["v","next"],"additionalProperties":false}}})",
       {R"({"v":1,"next":{"v":2,"next":null}})"},
       {R"({"v":1,"next":{"v":2}})"}},
      {R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]"}, {"[1]"}},
      {R"({"$id":"http://example.com/a.json","properties":{"x":{"$ref":"b.json#/definitions/n"},"y":{"$ref":"#here"}},
           "type":"object","definitions":{"n":{"$id":"b.json","definitions":{"n":{"type":"integer"}}},"h":{"$anchor":"here","type":"null"}}})",
       {R"({"x":1,"y":null})"},
       {R"({"x":"s"})", R"({"y":1})"}},
      {R"({"properties":{"a~/b%":{"type":"null"},"c":{"$ref":"#/properties/a~0~1b%25"}},"type":"object"})",
       {R"({"c":null})"},
       {R"({"c":1})"}},
  });
}

TEST(JsonSchema, CompactAndFree) {
  const char* schema = R"({"type":"object","properties":{"a":{"type":"array"}},"required":["a"]})";
  EXPECT_TRUE(Accepts(schema, R"({"a":[1,2]})", JsonWhitespace::kCompact));
  EXPECT_FALSE(Accepts(schema, R"({"a": [1,2]})", JsonWhitespace::kCompact));
  EXPECT_TRUE(Accepts(schema, "{\r\n\t\"a\" : [\n\t\t1,\n\t\t2\n\t]\r\n}"));
  EXPECT_FALSE(Accepts(schema, R"({"a":   [1,2]})"));  // blanks are bounded
  EXPECT_FALSE(Accepts(schema, R"( {"a": []})"));
}

TEST(JsonSchema, RefusesByName) {
  for (const auto& [schema, message] : {
           std::pair<const char*, const char*>{R"({"properties":{"a":{"not":{"type":"null"}}}})",
                                               "/properties/a: the keyword 'not'"},
           {R"({"if":{},"then":{}})", "'if'"},
           {R"({"type":"array","contains":{"type":"null"}})", "'contains'"},
           {R"({"type":"array","uniqueItems":true})", "'uniqueItems'"},
           {R"({"dependentRequired":{"a":["b"]}})", "'dependentRequired'"},
           {R"({"dependencies":{"a":["b"]}})", "'dependencies'"},
           {R"({"$dynamicRef":"#a"})", "'$dynamicRef'"},
           {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "oneOf"},
           {R"({"$ref":"https://example.com/x.json"})", "nothing is fetched"},
           {R"({"$ref":"#/definitions/none"})", "leads nowhere"},
           {R"({"type":"colour"})", "\"colour\""},
           {R"({"type":7})", "type"},
           {R"j({"type":"string","pattern":"(?!a)"})j", "look-around"},
           {R"j({"type":"string","pattern":"("})j", "')'"},
           {R"({"minimum":"1"})", "bound"},
           {R"({"multipleOf":0})", "multipleOf"},
           {R"({"minLength":-1})", "minLength"},
           {R"({"properties":[]})", "properties"},
           {R"({"required":"a"})", "required"},
           {R"({"items":3})", "schema"},
           {R"([])", "schema"},
           {R"({"type":"integer","minimum":3,"maximum":2})", "allows no value"},
           {R"({"allOf":[{"type":"string"},{"type":"integer"}]})", "allows no value"},
           {"false", "allows no value"},
           {R"({"$ref":"#"})", "no output"},
           {R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", "no output"},
           {R"({"allOf":[{"$ref":"#"},{"type":"object"}]})", "$ref"},
           {"{", "not JSON"},
           {"", "not JSON"},
       }) {
    EXPECT_NE(ErrorOf(schema).find(message), std::string::npos) << schema << ": " << ErrorOf(schema);
  }
}

TEST(JsonSchema, UnknownKeywordsAreNotes) {
  EXPECT_TRUE(
      Accepts(R"({"type":"integer","title":"n","x-order":1,"examples":[1],"deprecated":true,"nullable":true})", "5"));
}

TEST(JsonSchema, DeepAndLargeSchemasEndInErrors) {
  std::string deep, arrays;
  for (int i = 0; i < 20'000; ++i) deep += R"({"type":"array","items":)";
  deep += "{}" + std::string(20'000, '}');
  EXPECT_NE(ErrorOf(deep).find("200"), std::string::npos) << ErrorOf(deep);
  for (int i = 0; i < 150; ++i) arrays += R"({"type":"array","items":)";
  arrays += "{}" + std::string(150, '}');
  EXPECT_TRUE(Accepts(arrays, "[[]]"));
  // Chains of references, plain and joined with what stands beside them.
  for (const bool joined : {false, true}) {
    std::string chain = R"({"$ref":"#/$defs/a0","$defs":{)";
    for (int i = 0; i < 2'000; ++i) {
      chain += fmt::format(R"("a{}":{{"$ref":"#/$defs/a{}"{}}},)", i, i + 1, joined ? R"(,"minLength":1)" : "");
    }
    chain += R"("a2000":{"type":"string"}}})";
    if (joined) {
      EXPECT_NE(ErrorOf(chain).find("lead on more than 32 times"), std::string::npos) << ErrorOf(chain);
    } else {
      EXPECT_TRUE(Accepts(chain, "\"x\""));
    }
  }
  // Unions in unions, of which the join has 3^12 parts.
  std::string wide = R"({"allOf":[)";
  for (int i = 0; i < 12; ++i) {
    wide += fmt::format(
        R"({}{{"anyOf":[{{"properties":{{"a{}":{{"type":"integer"}}}}}},{{"properties":{{"b{}":{{}}}}}},{{"minimum":{}}}]}})",
        i == 0 ? "" : ",", i, i, i);
  }
  wide += "]}";
  EXPECT_NE(ErrorOf(wide), "");
  EXPECT_NE(ErrorOf(R"({"type":"string","enum":[")" + std::string(5 << 20, 'x') + "\"]}"), "");
}

}  // namespace
}  // namespace lem
