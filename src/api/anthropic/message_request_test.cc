#include "api/anthropic/message_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem::anthropic {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kHead = R"({"model":"m","max_tokens":2000,)";
constexpr std::string_view kHi = R"("messages":[{"role":"user","content":"Hi"}])";

ParseResult<MessageRequest> Parse(std::string_view body) {
  const auto json = ParseJson(body);
  EXPECT_TRUE(json.ok()) << body;
  return ParseMessageRequest(*json);
}
ParseResult<MessageRequest> ParseWith(std::string_view more) {
  return Parse(fmt::format("{}{}{}{}}}", kHead, kHi, more.empty() ? "" : ",", more));
}
ChatRequest Chat(std::string_view messages) {
  auto request = Parse(fmt::format("{}{}}}", kHead, messages));
  EXPECT_TRUE(request.has_value()) << (request ? "" : request.error().status.message());
  return request ? std::move(request->chat) : ChatRequest();
}
// What was wrong; empty = nothing.
std::string ParamAtFault(const ParseResult<MessageRequest>& request) { return request ? "" : request.error().param; }

std::vector<std::string> RolesAndTexts(const ChatRequest& chat) {
  std::vector<std::string> out;
  out.reserve(chat.messages.size());
  for (const ChatMessage& message : chat.messages) out.push_back(message.role + ": " + message.content);
  return out;
}

TEST(MessageRequestTest, ReadsOptions) {
  const auto request = ParseWith(R"("temperature":0.5,"top_p":0.9,"top_k":7,"stop_sequences":["a","b"],"stream":true,
      "metadata":{"user_id":"u"},"service_tier":"auto","context_management":{},"unheard_of":[1])");
  ASSERT_TRUE(request.has_value()) << request.error().status.message();
  const RequestOptions& options = request->chat.options;
  EXPECT_EQ(options.model, "m");
  EXPECT_EQ(options.max_tokens, 2000);
  EXPECT_EQ(options.sampling.temperature, 0.5f);
  EXPECT_EQ(options.sampling.top_p, 0.9f);
  EXPECT_EQ(options.sampling.top_k, 7);
  EXPECT_THAT(options.stop, ElementsAre("a", "b"));
  EXPECT_TRUE(options.stream);
  EXPECT_FALSE(request->thinking);
  EXPECT_EQ(request->chat.template_arguments.at("enable_thinking"), false);
}

TEST(MessageRequestTest, SystemIsTextOrBlocksWithoutTheBillingLine) {
  EXPECT_THAT(RolesAndTexts(Chat(fmt::format(R"("system":"Be brief.",{})", kHi))),
              ElementsAre("system: Be brief.", "user: Hi"));
  EXPECT_THAT(RolesAndTexts(Chat(fmt::format(
                  R"("system":[{{"type":"text","text":"x-anthropic-billing-header: cc_version=1; cch=8f2;"}},
                     {{"type":"text","text":"One.","cache_control":{{"type":"ephemeral"}}}},
                     {{"type":"text","text":"Two."}}],{})",
                  kHi))),
              ElementsAre("system: One.\nTwo.", "user: Hi"));
}

TEST(MessageRequestTest, BlocksBecomeTheMessagesOfTemplates) {
  const ChatRequest chat = Chat(R"("messages":[
      {"role":"user","content":[{"type":"text","text":"Weather"},{"type":"text","text":"in Rome?"}]},
      {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"Let me see."},
        {"type":"tool_use","id":"t1","name":"weather","input":{"city":"Rome"}},
        {"type":"tool_use","id":"t2","name":"time","input":{}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"sunny"},
        {"type":"tool_result","tool_use_id":"t2","is_error":true,"content":[{"type":"text","text":"no clock"}]},
        {"type":"text","text":"And now?"}]}])");
  EXPECT_THAT(RolesAndTexts(chat), ElementsAre("user: Weather\nin Rome?", "assistant: Let me see.", "tool: sunny",
                                               "tool: Error: no clock", "user: And now?"));
  const JsonObject& assistant = chat.messages.at(1).extra;
  EXPECT_EQ(assistant.at("reasoning_content"), "hm");
  EXPECT_EQ(assistant.at("tool_calls").as_array().size(), 2u);
  EXPECT_EQ(assistant.at("tool_calls").at(0).at("function"),
            *ParseJson(R"({"name":"weather","arguments":{"city":"Rome"}})"));
  EXPECT_EQ(chat.messages.at(2).extra.at("tool_call_id"), "t1");
  EXPECT_EQ(chat.messages.at(3).extra.at("name"), "time");
}

TEST(MessageRequestTest, AssistantsLastMessageBeginsTheAnswer) {
  const ChatRequest chat = Chat(R"("messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hel"}])");
  EXPECT_THAT(RolesAndTexts(chat), ElementsAre("user: Hi"));
  EXPECT_EQ(chat.answer_prefix, "Hel");
  EXPECT_EQ(
      ParamAtFault(Parse(fmt::format(
          "{}{}}}", kHead, R"("messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hel "}])"))),
      "messages[1].content");
}

TEST(MessageRequestTest, ReadsTools) {
  constexpr std::string_view kTools =
      R"("tools":[{"name":"f","description":"d","input_schema":{"type":"object"}},{"name":"g","input_schema":{},"type":"custom"}])";
  const auto request = ParseWith(kTools);
  ASSERT_TRUE(request.has_value()) << request.error().status.message();
  EXPECT_EQ(
      request->chat.tools.at(0),
      *ParseJson(R"({"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}})"));
  EXPECT_EQ(request->chat.tool_choice.kind, ToolChoice::Kind::kAuto);
  const auto with = [&](std::string_view choice) {
    return ParseWith(fmt::format(R"({},"tool_choice":{})", kTools, choice));
  };
  EXPECT_EQ(with(R"({"type":"any"})")->chat.tool_choice.kind, ToolChoice::Kind::kRequired);
  const auto one = with(R"({"type":"tool","name":"g","disable_parallel_tool_use":true})");
  EXPECT_THAT(one->chat.tool_choice.names, ElementsAre("g"));
  EXPECT_FALSE(one->chat.parallel_tool_calls);
  EXPECT_TRUE(with(R"({"type":"none"})")->chat.tools.empty());
  EXPECT_EQ(ParamAtFault(with(R"({"type":"tool","name":"h"})")), "tool_choice.name");
  EXPECT_EQ(ParamAtFault(with(R"({"type":"some"})")), "tool_choice.type");
  EXPECT_EQ(ParamAtFault(ParseWith(R"("tool_choice":{"type":"any"})")), "tool_choice.type");
}

TEST(MessageRequestTest, ReadsThinkingAndForm) {
  auto request = ParseWith(R"("thinking":{"type":"enabled","budget_tokens":1024})");
  ASSERT_TRUE(request.has_value());
  EXPECT_TRUE(request->thinking && request->show_thinking);
  EXPECT_EQ(request->chat.template_arguments.at("enable_thinking"), true);
  request = ParseWith(R"("thinking":{"type":"adaptive","display":"omitted"},
      "output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object"}}})");
  ASSERT_TRUE(request.has_value());
  EXPECT_TRUE(request->thinking && !request->show_thinking);
  EXPECT_EQ(request->chat.template_arguments.at("reasoning_effort"), "low");
  EXPECT_EQ(request->chat.options.form.kind, OutputForm::Kind::kJsonSchema);
}

TEST(MessageRequestTest, RefusalsNameTheField) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {R"("temperature":1.5)", "temperature"},
      {R"("top_k":-1)", "top_k"},
      {R"("stop_sequences":[""])", "stop_sequences[0]"},
      {R"("stop_sequences":"a")", "stop_sequences"},
      {R"("stream":"yes")", "stream"},
      {R"("system":5)", "system"},
      {R"("system":[{"type":"image"}])", "system[0].type"},
      {R"("thinking":{"type":"enabled"})", "thinking.budget_tokens"},
      {R"("thinking":{"type":"enabled","budget_tokens":2000})", "thinking.budget_tokens"},
      {R"("thinking":{"type":"enabled","budget_tokens":5})", "thinking.budget_tokens"},
      {R"("tools":[{"name":"f"}])", "tools[0].input_schema"},
      {R"("tools":[{"name":"a b","input_schema":{}}])", "tools[0].name"},
      {R"("tools":[{"type":"web_search_20250305","name":"web_search"}])", "tools[0].type"},
      {R"("tools":[{"name":"f","input_schema":{}},{"name":"f","input_schema":{}}])", "tools[1]"},
      {R"("mcp_servers":[{"url":"x"}])", "mcp_servers"},
  };
  for (const auto& [field, param] : cases) EXPECT_EQ(ParamAtFault(ParseWith(field)), param) << field;
  const std::pair<std::string_view, std::string_view> messages[] = {
      {R"({"role":"user","content":[{"type":"image","source":{"type":"base64"}}]})", "messages[0].content[0].type"},
      {R"({"role":"user","content":[{"type":"tool_result"}]})", "messages[0].content[0].tool_use_id"},
      {R"({"role":"user","content":[{"type":"tool_use","id":"x","name":"f"}]})", "messages[0].content[0].type"},
      {R"({"role":"user","content":["x"]})", "messages[0].content[0]"},
      {R"({"role":"user"})", "messages[0].content"},
      {R"({"role":"tool","content":"x"})", "messages[0].role"},
      {R"("x")", "messages[0]"},
  };
  for (const auto& [message, param] : messages) {
    EXPECT_EQ(ParamAtFault(Parse(fmt::format(R"({}"messages":[{}]}})", kHead, message))), param) << message;
  }
  EXPECT_EQ(ParamAtFault(Parse(R"({"model":"m","messages":[]})")), "max_tokens");
  EXPECT_EQ(ParamAtFault(Parse(R"({"max_tokens":1,"messages":[]})")), "model");
  EXPECT_EQ(ParamAtFault(Parse(R"({"model":"m","max_tokens":1,"messages":[]})")), "messages");
  EXPECT_THAT(ParseWith(R"("temperature":1.5)").error().status.message(), HasSubstr("from 0 to 1"));
}

TEST(MessageRequestTest, CountingNeedsNoLimit) {
  const auto request = ParseCountTokensRequest(*ParseJson(fmt::format(R"({{"model":"m",{}}})", kHi)));
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->chat.messages.size(), 1u);
  EXPECT_FALSE(ParseCountTokensRequest(*ParseJson("[]")).has_value());
}

}  // namespace
}  // namespace lem::anthropic
