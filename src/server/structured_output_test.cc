// Calls of tools and answers of a certain form, from request to answer, with a scripted service.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "http/testing_socket.h"
#include "server/api_server.h"
#include "server/testing/fake_service.h"

namespace lem {
namespace {

using http::Post;
using http::RawClient;
using http::RawResponse;
using testing::HasSubstr;

constexpr std::string_view kTools =
    R"("tools":[{"type":"function","function":{"name":"add","parameters":{"type":"object"}}}])";
constexpr std::string_view kTwoCalls =
    "I add.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": \"\u00e9\"}}\n</tool_call>\n"
    "<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call>";

class StructuredOutputTest : public testing::Test {
 protected:
  StructuredOutputTest() : server_(service_, {}) {
    const Result<uint16_t> port = server_.Listen("127.0.0.1", 0);
    EXPECT_TRUE(port.ok()) << port.status().ToString();
    EXPECT_TRUE(server_.Start().ok());
    port_ = *port;
  }

  RawResponse Ask(std::string_view more, std::string_view messages = R"([{"role":"user","content":"Hi"}])") const {
    return RawClient(port_).Request(
        Post("/v1/chat/completions", fmt::format(R"({{"model":"fake","messages":{},{}}})", messages, more)));
  }
  JsonValue AskJson(std::string_view more, int status = 200) const {
    const RawResponse response = Ask(more);
    EXPECT_EQ(response.status, status) << response.body;
    auto json = ParseJson(response.body);
    EXPECT_TRUE(json.ok()) << response.body;
    return json.ok() ? *std::move(json) : JsonValue();
  }
  std::vector<JsonValue> AskStream(std::string_view more) const {
    const std::string body = Ask(fmt::format(R"({},"stream":true)", more)).body;
    std::vector<JsonValue> chunks;
    for (size_t at = body.find("data: {"); at != std::string::npos; at = body.find("data: {", at + 1)) {
      auto json = ParseJson(std::string_view(body).substr(at + 6, body.find("\n\n", at) - at - 6));
      EXPECT_TRUE(json.ok()) << body;
      if (json.ok()) chunks.push_back(*std::move(json));
    }
    return chunks;
  }
  std::string LastPrompt() const {
    return service_.FindModel("fake")->tokenizer->Decode(service_.requests().back().prompt, SpecialTokens::kParse);
  }

  FakeService service_;
  ApiServer server_;
  uint16_t port_ = 0;
};

TEST_F(StructuredOutputTest, CallsOfTools) {
  service_.SetAnswer(kTwoCalls);
  const JsonValue choice = AskJson(kTools).at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "tool_calls");
  EXPECT_FALSE(choice.as_object().contains("lem_note"));
  const JsonObject& message = choice.at("message").as_object();
  EXPECT_EQ(message.at("content"), "I add.");
  const JsonArray& calls = message.at("tool_calls").as_array();
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].at("type"), "function");
  EXPECT_EQ(calls[0].at("function").at("name"), "add");
  EXPECT_EQ(calls[0].at("function").at("arguments"), "{\"a\": \"\u00e9\"}");
  EXPECT_EQ(calls[1].at("function").at("arguments"), "{}");
  EXPECT_NE(calls[0].at("id"), calls[1].at("id"));
  service_.SetAnswer(kTwoCalls.substr(kTwoCalls.find('<')));
  EXPECT_TRUE(AskJson(kTools).at("choices").at(0).at("message").at("content").is_null());
}

TEST_F(StructuredOutputTest, CallsAreStreamedInFragments) {
  service_.SetAnswer(kTwoCalls);
  std::string content, finish;
  std::vector<std::string> ids, arguments;
  size_t num_fragments = 0;
  for (const JsonValue& chunk : AskStream(kTools)) {
    const JsonObject& choice = chunk.at("choices").at(0).as_object();
    const JsonObject& delta = choice.at("delta").as_object();
    if (const auto* text = delta.if_contains("content"); text != nullptr && text->is_string()) {
      content += std::string_view(text->get_string());
    }
    if (choice.at("finish_reason").is_string()) finish = std::string_view(choice.at("finish_reason").get_string());
    const auto* calls = delta.if_contains("tool_calls");
    if (calls == nullptr) continue;
    const JsonObject& call = calls->at(0).as_object();
    const auto idx = static_cast<size_t>(call.at("index").as_int64());
    if (call.contains("id")) {
      EXPECT_EQ(idx, ids.size());
      ids.emplace_back(std::string_view(call.at("id").as_string()));
      arguments.emplace_back();
      EXPECT_EQ(call.at("function").at("name"), "add");
    }
    ASSERT_LT(idx, arguments.size());
    arguments[idx] += std::string_view(call.at("function").at("arguments").as_string());
    ++num_fragments;
  }
  EXPECT_EQ(content, "I add.");
  EXPECT_EQ(finish, "tool_calls");
  EXPECT_EQ(arguments, (std::vector<std::string>{"{\"a\": \"\u00e9\"}", "{}"}));
  EXPECT_GT(num_fragments, 6u);
}

TEST_F(StructuredOutputTest, StopStringsDoNotCutForms) {
  service_.SetAnswer(R"({"a": "x END y"})");
  const JsonValue free = AskJson(R"("stop":"END")").at("choices").at(0);
  EXPECT_EQ(free.at("message").at("content"), R"({"a": "x )");
  for (const char* form : {R"("response_format":{"type":"json_object"})",
                           R"("response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{}}})",
                           R"("regex":"[\\s\\S]*")"}) {
    const JsonValue choice = AskJson(fmt::format(R"({},"stop":["END","\""])", form)).at("choices").at(0);
    EXPECT_EQ(choice.at("message").at("content"), R"({"a": "x END y"})") << form;
    EXPECT_EQ(choice.at("finish_reason"), "stop");
  }
}

TEST_F(StructuredOutputTest, StopStringsDoNotCutCalls) {
  service_.SetAnswer(kTwoCalls);
  const JsonValue choice = AskJson(fmt::format(R"({},"stop":["arguments","}}"])", kTools)).at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "tool_calls");
  EXPECT_EQ(choice.at("message").at("tool_calls").as_array().size(), 2u);
  // Of the text before and between them they do.
  const JsonValue cut = AskJson(fmt::format(R"({},"stop":"add.")", kTools)).at("choices").at(0);
  EXPECT_EQ(cut.at("finish_reason"), "stop");
  EXPECT_EQ(cut.at("message").at("content"), "I ");
  const JsonValue required =
      AskJson(fmt::format(R"({},"tool_choice":"required","stop":"add.")", kTools)).at("choices").at(0);
  EXPECT_EQ(required.at("finish_reason"), "tool_calls");
}

TEST_F(StructuredOutputTest, WhatIsNoCallIsTextWithANote) {
  service_.SetAnswer("<tool_call>add 1 and 2</tool_call>");
  const JsonValue choice = AskJson(kTools).at("choices").at(0);
  EXPECT_EQ(choice.at("message").at("content"), "<tool_call>add 1 and 2</tool_call>");
  EXPECT_EQ(choice.at("finish_reason"), "stop");
  EXPECT_THAT(std::string(std::string_view(choice.at("lem_note").as_string())), HasSubstr("shown as text"));
  EXPECT_TRUE(AskStream(kTools).back().at("choices").at(0).as_object().contains("lem_note"));
  // Without tools nobody looks for calls.
  service_.SetAnswer(kTwoCalls);
  EXPECT_EQ(AskJson(R"("n":1)").at("choices").at(0).at("message").at("content"), JsonValue(kTwoCalls));
}

TEST_F(StructuredOutputTest, ParallelCallsCanBeForbidden) {
  service_.SetAnswer(kTwoCalls);
  const JsonValue choice = AskJson(fmt::format(R"({},"parallel_tool_calls":false)", kTools)).at("choices").at(0);
  EXPECT_EQ(choice.at("message").at("tool_calls").as_array().size(), 1u);
}

TEST_F(StructuredOutputTest, TheEngineGetsTheGrammar) {
  service_.SetAnswer("x");
  AskJson(R"("n":1)");
  EXPECT_EQ(service_.requests().back().grammar, nullptr);
  for (const std::string_view more : {std::string_view(R"("response_format":{"type":"json_object"})"), kTools,
                                      std::string_view(R"("choice":["a"])"), std::string_view(R"("regex":"a+")")}) {
    AskJson(more);
    EXPECT_NE(service_.requests().back().grammar, nullptr) << more;
  }
  const RawResponse completion =
      RawClient(port_).Request(Post("/v1/completions", R"({"model":"fake","prompt":"x","guided_choice":["a","b"]})"));
  EXPECT_EQ(completion.status, 200) << completion.body;
  EXPECT_NE(service_.requests().back().grammar, nullptr);
}

TEST_F(StructuredOutputTest, WhatCannotBeCompiledIsRefused) {
  const size_t before = service_.requests().size();
  for (const auto& [more, param] : {std::pair(R"("regex":"(")", "regex"),
                                    std::pair(R"("response_format":{"type":"json_schema","json_schema":{"name":"n",)"
                                              R"("schema":{"type":"nothing"}}})",
                                              "response_format.json_schema.schema")}) {
    const JsonValue error = AskJson(more, 400).at("error");
    EXPECT_EQ(error.at("param"), param);
    EXPECT_EQ(error.at("code"), "invalid_grammar");
  }
  EXPECT_EQ(service_.requests().size(), before);
}

TEST_F(StructuredOutputTest, ToolsOfModelsWithoutAFormGoIntoThePrompt) {
  service_.SetContextLength(2048);
  service_.SetAnswer("x");
  const RawResponse response = Ask(kTools, R"([{"role":"user","content":"1+1?"},
      {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function",
        "function":{"name":"add","arguments":"{\"a\":1}"}}]},
      {"role":"tool","tool_call_id":"c","content":"2"}])");
  EXPECT_EQ(response.status, 200) << response.body;
  const std::string prompt = LastPrompt();
  EXPECT_THAT(prompt, HasSubstr("<|im_start|>system\n# Tools"));
  EXPECT_THAT(prompt, HasSubstr(R"("name":"add")"));
  EXPECT_THAT(prompt, HasSubstr("<tool_call>\n{\"name\":\"add\",\"arguments\":{\"a\":1}}\n</tool_call>"));
  EXPECT_THAT(prompt, HasSubstr("<|im_start|>user\n<tool_response>\n2\n</tool_response>"));
}

TEST_F(StructuredOutputTest, LogprobsOfCallsAreGiven) {
  service_.SetAnswer(kTwoCalls);
  const JsonValue choice = AskJson(fmt::format(R"({},"logprobs":true)", kTools)).at("choices").at(0);
  EXPECT_EQ(choice.at("logprobs").at("content").as_array().size(), kTwoCalls.size()) << "a byte is a token";
}

}  // namespace
}  // namespace lem
