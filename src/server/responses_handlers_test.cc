// Responses over a socket: what differs from chat completions is tested here, answers themselves in api_server_test.
#include "server/responses_handlers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/testing/api_server_fixture.h"

namespace lem {
namespace {

using http::Eventually;
using http::RawClient;
using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr std::string_view kResponses = "/v1/responses";

class ResponsesTest : public ApiServerTest {
 protected:
  static std::string Body(std::string_view more = "") {
    return fmt::format(R"({{"model":"fake","input":"Hi"{}{}}})", more.empty() ? "" : ",", more);
  }
  static std::string Path(const JsonValue& response, std::string_view more = "") {
    return fmt::format("{}/{}{}", kResponses, Text(response.at("id")), more);
  }
  http::RawResponse Send(std::string_view method, std::string_view path, std::string_view fields = "") const {
    return RawClient(port_).Request(
        fmt::format("{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\n{}Content-Length: 0\r\n\r\n", method, path, fields));
  }
  JsonValue GetJson(std::string_view path) const { return Parsed(Send("GET", path).body); }
  std::string StatusOf(const JsonValue& response) const { return Text(GetJson(Path(response)).at("status")); }
};

TEST_F(ResponsesTest, Answers) {
  const JsonValue response = AskJson(kResponses, Body(R"("instructions":"Be brief.","metadata":{"a":"b"})"));
  EXPECT_TRUE(Text(response.at("id")).starts_with("resp_"));
  EXPECT_EQ(response.at("status"), "completed");
  EXPECT_EQ(response.at("model"), "fake");
  EXPECT_EQ(response.at("output").at(0).at("content").at(0).at("text"), "Hello");
  EXPECT_EQ(response.at("metadata").at("a"), "b");
  EXPECT_EQ(response.at("usage").at("output_tokens"), 5);
  EXPECT_EQ(GetJson(Path(response)), response);
  EXPECT_EQ(AskJson("/v1/responses/input_tokens", Body(R"("instructions":"Be brief.")")).at("input_tokens"),
            response.at("usage").at("input_tokens"));
}

TEST_F(ResponsesTest, Streams) {
  const http::RawResponse answer = Ask(kResponses, Body(R"("stream":true)"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.complete);
  EXPECT_TRUE(answer.body.starts_with("event: response.created\ndata: {\"type\":\"response.created\","));
  EXPECT_THAT(answer.body, HasSubstr("event: response.completed\n"));
  EXPECT_THAT(answer.body, testing::Not(HasSubstr("[DONE]")));
  const size_t last = answer.body.rfind("data: ");
  const JsonValue response = Parsed(std::string_view(answer.body).substr(last + 6)).at("response");
  EXPECT_EQ(GetJson(Path(response)), response);
}

TEST_F(ResponsesTest, BrokenStreamEndsWithAFailedResponse) {
  service_.SetScript({.tokens = {'a'}, .fail_after_tokens = Internal("broke")});
  const http::RawResponse answer = Ask(kResponses, Body(R"("stream":true)"));
  EXPECT_TRUE(answer.complete);
  EXPECT_THAT(answer.body, HasSubstr("event: response.failed\n"));
  EXPECT_THAT(answer.body, testing::Not(HasSubstr("response.completed")));
  EXPECT_EQ(AskJson(kResponses, Body(), 500).at("error").at("type"), "server_error");
}

TEST_F(ResponsesTest, GoesOnFromAPreviousResponse) {
  const JsonValue first = AskJson(kResponses, Body(R"("instructions":"Once.")"));
  const JsonValue second = AskJson(
      kResponses,
      fmt::format(R"({{"model":"fake","input":"More","previous_response_id":{}}})", JsonQuote(Text(first.at("id")))));
  EXPECT_EQ(second.at("previous_response_id"), first.at("id"));
  // Instructions are not carried over: user, assistant, user.
  const std::vector<int32_t> prompt = service_.requests().at(1).prompt;
  EXPECT_EQ(std::ranges::count(prompt, 258), 4);
  std::string text;
  for (const int32_t token : prompt) text += token < 256 ? static_cast<char>(token) : '|';
  EXPECT_THAT(text, HasSubstr("user\nHi"));
  EXPECT_THAT(text, HasSubstr("assistant\nHello"));
  EXPECT_THAT(text, HasSubstr("user\nMore"));
  EXPECT_THAT(text, testing::Not(HasSubstr("Once.")));

  const JsonValue items = GetJson(Path(second, "/input_items?order=asc"));
  ASSERT_EQ(items.at("data").as_array().size(), 3u);
  EXPECT_EQ(items.at("data").at(1), first.at("output").at(0));
  EXPECT_EQ(items.at("data").at(2).at("content").at(0).at("text"), "More");
  EXPECT_EQ(GetJson(Path(second, "/input_items?limit=1")).at("first_id"), items.at("last_id"));
  EXPECT_EQ(Send("GET", Path(second, "/input_items?limit=0")).status, 400);
  EXPECT_EQ(Send("GET", Path(second, "/input_items?order=up")).status, 400);
  EXPECT_EQ(Send("GET", Path(second, "/input_items?after=x")).status, 400);
  const JsonValue error = Refused(kResponses, Body(R"("previous_response_id":"resp_no")"), 400);
  EXPECT_EQ(error.at("code"), "previous_response_not_found");
  EXPECT_EQ(error.at("param"), "previous_response_id");
}

TEST_F(ResponsesTest, WhatIsNotStoredIsNotThere) {
  const JsonValue response = AskJson(kResponses, Body(R"("store":false)"));
  EXPECT_EQ(response.at("store"), false);
  EXPECT_EQ(Send("GET", Path(response)).status, 404);
  EXPECT_EQ(Send("GET", Path(response, "/input_items")).status, 404);
  EXPECT_EQ(Send("DELETE", Path(response)).status, 404);
  EXPECT_EQ(Send("POST", Path(response, "/cancel")).status, 404);
}

TEST_F(ResponsesTest, Deletes) {
  const JsonValue response = AskJson(kResponses, Body());
  const http::RawResponse deleted = Send("DELETE", Path(response));
  EXPECT_EQ(deleted.status, 200);
  EXPECT_EQ(Parsed(deleted.body).at("deleted"), true);
  EXPECT_EQ(Send("GET", Path(response)).status, 404);
}

TEST_F(ResponsesTest, OthersDoNotSeeIt) {
  const JsonValue response = AskJson(kResponses, Body());
  EXPECT_EQ(Send("GET", Path(response), "Authorization: Bearer other\r\n").status, 404);
  EXPECT_EQ(Send("DELETE", Path(response), "Authorization: Bearer other\r\n").status, 404);
  EXPECT_EQ(Send("GET", Path(response)).status, 200);
}

TEST_F(ResponsesTest, RunsInTheBackground) {
  const JsonValue queued = AskJson(kResponses, Body(R"("background":true)"));
  EXPECT_EQ(queued.at("status"), "queued");
  EXPECT_EQ(queued.at("background"), true);
  EXPECT_TRUE(Eventually([&] { return StatusOf(queued) == "completed"; }));
  EXPECT_EQ(GetJson(Path(queued)).at("output").at(0).at("content").at(0).at("text"), "Hello");
  EXPECT_EQ(service_.requests().at(0).priority, Priority::kBatch);
  EXPECT_EQ(Parsed(Send("POST", Path(queued, "/cancel")).body).at("status"), "completed");
}

TEST_F(ResponsesTest, BackgroundFailsInItsResponse) {
  service_.SetScript({.tokens = {'a'}, .fail_after_tokens = Internal("broke")});
  const JsonValue queued = AskJson(kResponses, Body(R"("background":true)"));
  EXPECT_TRUE(Eventually([&] { return StatusOf(queued) == "failed"; }));
  EXPECT_THAT(Text(GetJson(Path(queued)).at("error").at("message")), HasSubstr("broke"));
}

TEST_F(ResponsesTest, CancelsTheBackground) {
  for (const std::string_view method : {"POST", "DELETE"}) {
    const int before = service_.num_cancelled();
    service_.SetScript({.tokens = std::vector<int32_t>(400, 'a'), .token_time = milliseconds(100)});
    const JsonValue queued = AskJson(kResponses, Body(R"("background":true)"));
    const http::RawResponse answer = Send(method, Path(queued, method == "POST" ? "/cancel" : ""));
    EXPECT_EQ(answer.status, 200);
    if (method == "POST") {
      EXPECT_EQ(Parsed(answer.body).at("status"), "cancelled");
    }
    EXPECT_TRUE(Eventually([&] { return service_.num_live() == 0; }));
    EXPECT_EQ(service_.num_cancelled(), before + 1);
    EXPECT_EQ(Send("GET", Path(queued)).status, method == "POST" ? 200 : 404);
  }
}

TEST_F(ResponsesTest, OnlyTheBackgroundIsCancelled) {
  const JsonValue response = AskJson(kResponses, Body());
  const http::RawResponse answer = Send("POST", Path(response, "/cancel"));
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(Parsed(answer.body).at("error").at("code"), "not_in_background");
  EXPECT_EQ(Send("GET", Path(response, "?stream=true")).status, 400);
}

TEST_F(ResponsesTest, ServerEndsWithResponsesUnderWay) {
  service_.SetScript({.tokens = std::vector<int32_t>(400, 'a'), .token_time = milliseconds(100)});
  for (int i = 0; i < 3; ++i) AskJson(kResponses, Body(R"("background":true)"));
  server_.reset();
  EXPECT_EQ(service_.num_live(), 0);
}

TEST_F(ResponsesTest, RefusalsNameTheField) {
  EXPECT_EQ(Refused(kResponses, Body(R"("max_output_tokens":512)"), 400).at("param"), "input");
  EXPECT_EQ(Refused(kResponses, Body(R"("tools":[{"type":"web_search"}])"), 400).at("param"), "tools[0].type");
  EXPECT_EQ(Refused(kResponses, R"({"model":"nobody","input":"x"})", 404).at("code"), "model_not_found");
  EXPECT_EQ(Refused(kResponses, "{", 400).at("code"), "invalid_json");
  EXPECT_EQ(Send("GET", kResponses).status, 405);
}

}  // namespace
}  // namespace lem
