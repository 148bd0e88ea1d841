#include "text/tool_calls/generic_tools.h"

#include <gtest/gtest.h>

namespace lem {
namespace {

std::vector<ChatMessage> Conversation() {
  ChatMessage call{"assistant", "I look.", {}};
  call.extra["tool_calls"] =
      *ParseJson(R"([{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}])");
  return {{"user", "q", {}}, call, {"tool", "sun", {}}, {"tool", "rain", {}}, {"user", "thanks", {}}};
}

TEST(GenericTools, PutsEverythingIntoText) {
  const JsonArray tools = ParseJson(R"([{"type": "function", "function": {"name": "f"}}])")->as_array();
  const auto messages = WithGenericTools(Conversation(), tools, {});
  ASSERT_EQ(messages.size(), 5u);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_NE(messages[0].content.find(R"({"type":"function","function":{"name":"f"}})"), std::string::npos)
      << messages[0].content;
  EXPECT_EQ(messages[2].content, "I look.\n<tool_call>\n{\"name\":\"f\",\"arguments\":{\"x\":1}}\n</tool_call>");
  EXPECT_FALSE(messages[2].extra.contains("tool_calls"));
  EXPECT_EQ(messages[3].role, "user");
  EXPECT_EQ(messages[3].content, "<tool_response>\nsun\n</tool_response>\n<tool_response>\nrain\n</tool_response>");
  EXPECT_EQ(messages[4].content, "thanks");
}

TEST(GenericTools, KeepsTheSystemMessage) {
  const JsonArray tools = {JsonObject({{"type", "function"}})};
  const auto messages = WithGenericTools({{"system", "Be brief.", {}}, {"user", "q", {}}}, tools, {});
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_TRUE(messages[0].content.starts_with("Be brief.\n\n# Tools"));
}

TEST(GenericTools, LeavesAloneWhatTheTemplateShows) {
  const JsonArray tools = {JsonObject({{"type", "function"}})};
  const auto messages = WithGenericTools(Conversation(), tools, {true, true, true});
  ASSERT_EQ(messages.size(), 5u);
  EXPECT_EQ(messages[0].role, "user");
  EXPECT_TRUE(messages[1].extra.contains("tool_calls"));
  EXPECT_EQ(messages[2].role, "tool");
}

}  // namespace
}  // namespace lem
