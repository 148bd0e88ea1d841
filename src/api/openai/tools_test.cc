#include "api/openai/tools.h"

#include <gtest/gtest.h>

#include "api/openai/testing/chat_fields.h"

namespace lem::openai {
namespace {

using Kind = ToolChoice::Kind;

constexpr std::string_view kTools =
    R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}},)"
    R"({"type":"function","function":{"name":"g"}}])";

std::string Refused(std::string_view fields) {
  const auto request = ParseFields(fields);
  return request ? "" : request.error().param;
}

ChatRequest WithChoice(std::string_view choice) {
  return TakenFields(fmt::format(R"({},"tool_choice":{})", kTools, choice));
}

TEST(Tools, Choice) {
  EXPECT_EQ(TakenFields(kTools).tools.size(), 2u);
  EXPECT_EQ(TakenFields(kTools).tool_choice.kind, Kind::kAuto);
  EXPECT_EQ(WithChoice(R"("none")").tools.size(), 0u);
  EXPECT_EQ(WithChoice(R"("auto")").tool_choice.kind, Kind::kAuto);
  EXPECT_EQ(WithChoice(R"("required")").tool_choice.kind, Kind::kRequired);
  const ChatRequest named = WithChoice(R"({"type":"function","function":{"name":"g"}})");
  EXPECT_EQ(named.tool_choice.kind, Kind::kRequired);
  EXPECT_EQ(named.tool_choice.names, std::vector<std::string>{"g"});
  EXPECT_EQ(named.tools.size(), 2u) << "the template shows them all";
  const ChatRequest allowed = WithChoice(
      R"({"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}}]}})");
  EXPECT_EQ(allowed.tool_choice.kind, Kind::kAuto);
  EXPECT_EQ(allowed.tool_choice.names, std::vector<std::string>{"f"});
}

TEST(Tools, Parallel) {
  EXPECT_TRUE(TakenFields(kTools).parallel_tool_calls);
  EXPECT_FALSE(TakenFields(fmt::format(R"({},"parallel_tool_calls":false)", kTools)).parallel_tool_calls);
}

TEST(Tools, RefusesWhatIsWrongByName) {
  const auto with_choice = [](std::string_view choice) {
    return fmt::format(R"({},"tool_choice":{})", kTools, choice);
  };
  const std::pair<std::string, std::string_view> cases[] = {
      {R"("tools":{})", "tools"},
      {R"("tools":[1])", "tools[0]"},
      {R"("tools":[{"type":"custom","custom":{"name":"x"}}])", "tools[0].type"},
      {R"("tools":[{"type":"function"}])", "tools[0]"},
      {R"("tools":[{"type":"function","function":{}}])", "tools[0].function.name"},
      {R"("tools":[{"type":"function","function":{"name":"a b"}}])", "tools[0].function.name"},
      {R"("tools":[{"type":"function","function":{"name":"f","parameters":[]}}])", "tools[0].function.parameters"},
      {R"("tools":[{"function":{"name":"f"}},{"function":{"name":"f"}}])", "tools[1].function.name"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("tools":[],"tool_choice":"required")", "tool_choice"},
      {with_choice(R"("maybe")"), "tool_choice"},
      {with_choice("1"), "tool_choice"},
      {with_choice(R"({"type":"function"})"), "tool_choice"},
      {with_choice(R"({"type":"function","function":{"name":"h"}})"), "tool_choice"},
      {with_choice(R"({"type":"allowed_tools"})"), "tool_choice.allowed_tools"},
      {with_choice(R"({"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}})"),
       "tool_choice.allowed_tools.tools"},
  };
  for (const auto& [fields, param] : cases) EXPECT_EQ(Refused(fields), param) << fields;
  std::string many = R"("tools":[)";
  for (size_t i = 0; i <= kMaxTools; ++i)
    many += fmt::format(R"({}{{"function":{{"name":"f{}"}}}})", i > 0 ? "," : "", i);
  EXPECT_EQ(Refused(many + "]"), "tools");
}

}  // namespace
}  // namespace lem::openai
