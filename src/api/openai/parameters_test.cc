// Every parameter of the table: its bounds are taken and what is outside is refused by name, before anything is queued.
#include "api/openai/parameters.h"

#include <gtest/gtest.h>

#include "api/openai/chat_request.h"
#include "api/openai/completion_request.h"
#include "api/openai/responses_request.h"

namespace lem::openai {
namespace {

struct Case {
  Endpoint endpoint;
  Parameter parameter;
};

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const Endpoint endpoint : {Endpoint::kChat, Endpoint::kCompletions, Endpoint::kResponses}) {
    for (const Parameter& parameter : ParametersOf(endpoint)) cases.push_back({endpoint, parameter});
  }
  return cases;
}

// The error's param, or "" if the request is taken. `value` is JSON.
std::string Refused(const Case& c, std::string value) {
  if (c.parameter.name == "logit_bias") value = R"({"7":)" + value + "}";
  std::string more;
  if (c.parameter.name == "top_logprobs" && c.endpoint == Endpoint::kChat) more = R"("logprobs":true,)";
  constexpr std::string_view kInputs[] = {R"("messages":[{"role":"user","content":"x"}])", R"("prompt":"x")",
                                          R"("input":"x")"};
  const auto body = ParseJson(fmt::format(R"({{"model":"m",{}"{}":{},{}}})", more, c.parameter.name, value,
                                          kInputs[static_cast<size_t>(c.endpoint)]));
  if (!body.ok()) return "JSON";
  const auto name = [](const auto& result) {
    if (result) return std::string();
    EXPECT_EQ(result.error().status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(result.error().status.message(), "");
    EXPECT_NE(result.error().code, "");
    return result.error().param;
  };
  if (c.endpoint == Endpoint::kResponses) {
    return name(ParseResponsesRequest(*body, "r", [](const std::string&) { return JsonArray(); }));
  }
  return c.endpoint == Endpoint::kChat ? name(ParseChatRequest(*body)) : name(ParseCompletionRequest(*body));
}

class ParameterTest : public testing::TestWithParam<Case> {
 protected:
  void ExpectTaken(const std::string& value) { EXPECT_EQ(Refused(GetParam(), value), "") << value; }
  void ExpectRefused(const std::string& value) {
    const std::string_view name = GetParam().parameter.name;
    std::string expected(name);
    if (name == "logit_bias") expected = value == "null" ? "" : "logit_bias.7";
    EXPECT_EQ(Refused(GetParam(), value), expected) << value;
  }
  void ExpectRefusesWrongTypes() {
    for (const char* wrong : {R"("1")", R"("")", "[]", "{}", "[1]"}) ExpectRefused(wrong);
    for (const char* not_json : {"NaN", "Infinity", "-Infinity", "1_0", "01", "+1", "1."}) {
      EXPECT_EQ(Refused(GetParam(), not_json), "JSON") << not_json;
    }
    if (GetParam().parameter.name != "logit_bias") ExpectTaken("null");
  }
};

TEST_P(ParameterTest, IsTakenInsideItsRangeOnly) {
  ExpectRefusesWrongTypes();
  if (const auto* integers = std::get_if<IntegerRange>(&GetParam().parameter.allowed)) {
    ExpectTaken(std::to_string(integers->min));
    ExpectTaken(std::to_string(integers->max));
    if (integers->min > std::numeric_limits<int64_t>::min()) ExpectRefused(std::to_string(integers->min - 1));
    if (integers->max < std::numeric_limits<int64_t>::max()) ExpectRefused(std::to_string(integers->max + 1));
    for (const char* far : {"-9223372036854775809", "9223372036854775808", "18446744073709551616", "1e300", "-1e300"}) {
      ExpectRefused(far);
    }
    ExpectRefused("1.5");
    ExpectRefused("true");
    ExpectTaken("1.0");
  } else if (const auto* numbers = std::get_if<NumberRange>(&GetParam().parameter.allowed)) {
    ExpectTaken(fmt::format("{}", numbers->min));
    ExpectTaken(fmt::format("{}", numbers->max));
    for (const double outside : {numbers->min - 1e-6, numbers->max + 1e-6, numbers->max + 1}) {
      ExpectRefused(fmt::format("{}", outside));
    }
    for (const char* far : {"9223372036854775808", "-9223372036854775809", "1e308", "-1e308"}) ExpectRefused(far);
    ExpectRefused("true");
  } else {
    ExpectTaken("true");
    ExpectTaken("false");
    ExpectRefused("1");
    ExpectRefused("0");
  }
}

std::string NameOf(const testing::TestParamInfo<Case>& info) {
  constexpr std::string_view kNames[] = {"chat", "completions", "responses"};
  return fmt::format("{}_{}", kNames[static_cast<size_t>(info.param.endpoint)], info.param.parameter.name);
}
INSTANTIATE_TEST_SUITE_P(All, ParameterTest, testing::ValuesIn(AllCases()), NameOf);

TEST(UnsupportedParameterTest, IsRefusedUnlessItAsksForNothing) {
  for (const Endpoint endpoint : {Endpoint::kChat, Endpoint::kCompletions, Endpoint::kResponses}) {
    for (const UnsupportedParameter& parameter : UnsupportedParametersOf(endpoint)) {
      const Case c{endpoint, {parameter.name, AnyBoolean{}}};
      EXPECT_EQ(Refused(c, R"({"x":1})"), parameter.name);
      EXPECT_EQ(Refused(c, R"(["x"])"), parameter.name);
      EXPECT_EQ(Refused(c, R"("x")"), parameter.name);
      EXPECT_EQ(Refused(c, "null"), "") << parameter.name;
      if (!parameter.accepted_json.empty()) {
        EXPECT_EQ(Refused(c, std::string(parameter.accepted_json)), "") << parameter.name;
      }
    }
  }
}

}  // namespace
}  // namespace lem::openai
