// Anthropic's dialect over a socket: what differs from the others is tested here, answers themselves in
// api_server_test.
#include "server/anthropic_handlers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/testing/api_server_fixture.h"

namespace lem {
namespace {

using testing::HasSubstr;

constexpr std::string_view kMessages = "/v1/messages";

class AnthropicTest : public ApiServerTest {
 protected:
  static std::string Body(std::string_view more = "") {
    return fmt::format(R"({{"model":"fake","max_tokens":20,"messages":[{{"role":"user","content":"Hi"}}]{}{}}})",
                       more.empty() ? "" : ",", more);
  }
};

TEST_F(AnthropicTest, Answers) {
  const http::RawResponse response = Ask(kMessages, Body());
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.Get("request-id"), response.headers.Get("x-request-id"));
  const JsonValue body = Parsed(response.body);
  EXPECT_TRUE(Text(body.at("id")).starts_with("msg_"));
  EXPECT_EQ(body.at("content"), *ParseJson(R"([{"type":"text","text":"Hello"}])"));
  EXPECT_EQ(body.at("stop_reason"), "end_turn");
  EXPECT_EQ(body.at("usage").at("cache_read_input_tokens"), 1);
  const JsonValue count =
      AskJson("/v1/messages/count_tokens", R"({"model":"fake","messages":[{"role":"user","content":"Hi"}]})");
  EXPECT_EQ(count.at("input_tokens"), service_.requests().at(0).prompt.size());
}

// The fallback template's end marker is a stop string that the client has not given.
TEST_F(AnthropicTest, EndMarkersAreNotStopSequences) {
  service_.SetAnswer("Hello<|im_end|>more");
  JsonValue body = AskJson(kMessages, Body());
  EXPECT_EQ(body.at("content").at(0).at("text"), "Hello");
  EXPECT_EQ(body.at("stop_reason"), "end_turn");
  EXPECT_TRUE(body.at("stop_sequence").is_null());
  body = AskJson(kMessages, Body(R"("stop_sequences":["lo"])"));
  EXPECT_EQ(body.at("content").at(0).at("text"), "Hel");
  EXPECT_EQ(body.at("stop_reason"), "stop_sequence");
  EXPECT_EQ(body.at("stop_sequence"), "lo");
}

TEST_F(AnthropicTest, PrefillIsTheEndOfThePrompt) {
  AskJson(kMessages, R"({"model":"fake","max_tokens":5,"messages":[{"role":"user","content":"Hi"},
      {"role":"assistant","content":"<|im_end|>A"}]})");
  const std::vector<int32_t> prompt = service_.requests().at(0).prompt;
  EXPECT_EQ(prompt.back(), 'A');
  EXPECT_EQ(prompt.at(prompt.size() - 2), '>');  // text, no control token
}

TEST_F(AnthropicTest, ErrorsHaveTheDialectsShape) {
  const auto type_of = [](const http::RawResponse& response) {
    const JsonValue body = Parsed(response.body);
    EXPECT_EQ(body.at("type"), "error");
    EXPECT_EQ(body.at("request_id"), JsonValue(response.headers.Get("request-id")));
    return Text(body.at("error").at("type"));
  };
  EXPECT_EQ(type_of(Ask(kMessages, R"({"model":"fake"})")), "invalid_request_error");
  EXPECT_EQ(type_of(Ask(kMessages, "{")), "invalid_request_error");
  EXPECT_EQ(type_of(Ask("/v1/messages/batches", "{}")), "not_found_error");
  EXPECT_EQ(type_of(Ask(kMessages, R"({"model":"x","max_tokens":1,"messages":[{"role":"user","content":""}]})")),
            "not_found_error");
  EXPECT_EQ(type_of(http::RawClient(port_).Request(http::Get(kMessages))), "invalid_request_error");
  service_.SetState(ModelState::kLoading);
  EXPECT_EQ(type_of(Ask(kMessages, Body())), "overloaded_error");
}

TEST_F(AnthropicTest, BrokenStreamEndsWithAnErrorEvent) {
  service_.SetScript({.tokens = {'a'}, .fail_after_tokens = Internal("broke")});
  const http::RawResponse response = Ask(kMessages, Body(R"("stream":true)"));
  EXPECT_EQ(response.status, 200);
  EXPECT_TRUE(response.complete);
  EXPECT_THAT(response.body, HasSubstr("event: content_block_delta\n"));
  EXPECT_THAT(response.body, HasSubstr("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""));
  EXPECT_THAT(response.body, testing::Not(HasSubstr("message_stop")));
}

TEST_F(AnthropicTest, ModelsAreListedForItsClients) {
  const auto get = [&](std::string_view path, std::string_view field) {
    return Parsed(http::RawClient(port_).Request(http::Get(path, field)).body);
  };
  EXPECT_EQ(get("/v1/models", "anthropic-version: 2023-06-01\r\n").at("first_id"), "fake");
  EXPECT_EQ(get("/v1/models/fake", "anthropic-version: 2023-06-01\r\n").at("type"), "model");
  EXPECT_EQ(get("/v1/models", "").at("object"), "list");
  EXPECT_EQ(Ask("/api/event_logging/batch", "{}").status, 204);
}

}  // namespace
}  // namespace lem
