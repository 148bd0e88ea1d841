#include "server/embedding_answer.h"

#include <gtest/gtest.h>

#include "server/testing/api_server_fixture.h"

namespace lem {
namespace {

using EmbeddingAnswerTest = ApiServerTest;

TEST_F(EmbeddingAnswerTest, VectorsComeByInputAndHaveLengthOne) {
  const JsonValue answer = AskJson("/v1/embeddings", R"({"model":"fake","input":["a","bb"]})");
  const JsonArray& data = answer.at("data").as_array();
  ASSERT_EQ(data.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(data[i].at("index").as_int64(), static_cast<int64_t>(i));
    double squares = 0;
    for (const JsonValue& value : data[i].at("embedding").as_array())
      squares += value.to_number<double>() * value.to_number<double>();
    EXPECT_NEAR(squares, 1, 1e-5);
  }
  EXPECT_NE(data[0].at("embedding"), data[1].at("embedding"));
  EXPECT_GT(answer.at("usage").at("prompt_tokens").as_int64(), 2);
}

TEST_F(EmbeddingAnswerTest, ManyInputsAreAllAnswered) {
  std::string inputs;
  for (int i = 0; i < 100; ++i) inputs += fmt::format("{}[{},2]", i == 0 ? "" : ",", i);
  const JsonValue answer =
      AskJson("/v1/embeddings", fmt::format(R"({{"model":"fake","input":[{}],"dimensions":2}})", inputs));
  ASSERT_EQ(answer.at("data").as_array().size(), 100u);
  for (const JsonValue& entry : answer.at("data").as_array()) EXPECT_EQ(entry.at("embedding").as_array().size(), 2u);
  EXPECT_EQ(answer.at("usage").at("prompt_tokens").as_int64(), 200);
}

TEST_F(EmbeddingAnswerTest, BadInputsAreNamed) {
  EXPECT_EQ(Text(Refused("/v1/embeddings", R"({"model":"other","input":"a"})", 404).at("param")), "model");
  EXPECT_EQ(Text(Refused("/v1/embeddings", R"({"model":"fake","input":["a",""]})", 400).at("param")), "input[1]");
  EXPECT_EQ(Text(Refused("/v1/embeddings", R"({"model":"fake","input":"a","dimensions":5})", 400).at("param")),
            "dimensions");
  const std::string longer(600, 'x');
  const JsonValue error = Refused("/v1/embeddings", fmt::format(R"({{"model":"fake","input":"{}"}})", longer), 400);
  EXPECT_EQ(Text(error.at("code")), "context_length_exceeded");
  const http::RawResponse response = http::RawClient(port_).Request(
      "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nx-lem-priority: soon\r\n"
      "Content-Length: 28\r\n\r\n{\"model\":\"fake\",\"input\":\"a\"}");
  EXPECT_EQ(response.status, 400);
}

TEST_F(EmbeddingAnswerTest, FailuresEndTheAnswer) {
  FakeScript script;
  script.fail_after_tokens = Unavailable("the device is gone");
  service_.SetScript(script);
  Refused("/v1/embeddings", R"({"model":"fake","input":["a","b"]})", 503);
  script = {};
  script.refuse = ResourceExhausted("too many").WithRetryAfter(7);
  service_.SetScript(script);
  const http::RawResponse response = Ask("/v1/embeddings", R"({"model":"fake","input":"a"})");
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(response.headers.Get("Retry-After"), "7");
}

TEST_F(EmbeddingAnswerTest, RerankSaysHowItJudges) {
  const JsonValue answer = AskJson("/v1/rerank", R"({"model":"fake","query":"a","documents":["a","zzzzzzzzzz"]})");
  EXPECT_EQ(answer.at("results").as_array().size(), 2u);
  EXPECT_EQ(answer.at("results").as_array()[0].at("index").as_int64(), 0);
  EXPECT_NE(Text(answer.at("method")).find("pooled"), std::string::npos);
}

}  // namespace
}  // namespace lem
