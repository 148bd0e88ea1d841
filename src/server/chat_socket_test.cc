#include "server/chat_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/testing_web_socket.h"
#include "server/testing/api_server_fixture.h"

namespace lem {
namespace {

using http::Eventually;
using http::Opcode;
using http::WebSocketClient;
using testing::HasSubstr;

constexpr std::string_view kPath = "/v1/chat/completions/ws";

class ChatSocketTest : public ApiServerTest {
 protected:
  // Objects up to "[DONE]".
  static std::vector<JsonValue> ReadAnswer(WebSocketClient& client) {
    std::vector<JsonValue> objects;
    for (std::string text = client.ReadText(); text != "[DONE]"; text = client.ReadText()) {
      if (text.empty()) {
        ADD_FAILURE() << "the socket ended";
        break;
      }
      objects.push_back(Parsed(text));
    }
    return objects;
  }
  static JsonValue ReadError(WebSocketClient& client) {
    const JsonValue object = Parsed(client.ReadText());
    for (const char* key : {"message", "type", "param", "code"}) {
      EXPECT_TRUE(object.at("error").as_object().contains(key)) << key;
    }
    return object.at("error");
  }
  static std::string TextOf(const std::vector<JsonValue>& chunks) {
    std::string text;
    for (const JsonValue& chunk : chunks) {
      for (const JsonValue& choice : chunk.at("choices").as_array()) {
        const auto* content = choice.at("delta").as_object().if_contains("content");
        if (content != nullptr) text += Text(*content);
      }
    }
    return text;
  }
};

TEST_F(ChatSocketTest, AnswersInChunksAgainAndAgain) {
  WebSocketClient client(port_, kPath);
  for (int i = 0; i < 3; ++i) {
    client.SendText(ChatBody());
    const std::vector<JsonValue> chunks = ReadAnswer(client);
    EXPECT_EQ(TextOf(chunks), "Hello");
    EXPECT_EQ(chunks.front().at("object"), "chat.completion.chunk");
    EXPECT_EQ(chunks.back().at("choices").at(0).at("finish_reason"), "stop");
  }
  client.SendText(ChatBody(R"("stream_options":{"include_usage":true})"));
  EXPECT_EQ(ReadAnswer(client).back().at("usage").at("completion_tokens"), 5);
  client.SendText(ChatBody(R"("stream":false,"request_id":"a")"));
  const std::vector<JsonValue> whole = ReadAnswer(client);
  ASSERT_EQ(whole.size(), 1u);
  EXPECT_EQ(whole[0].at("object"), "chat.completion");
  EXPECT_EQ(whole[0].at("request_id"), "a");
}

TEST_F(ChatSocketTest, ErrorsAreObjectsAndTheSocketStaysOpen) {
  WebSocketClient client(port_, kPath);
  const auto error_after = [&](std::string_view text) {
    client.SendText(text);
    return ReadError(client);
  };
  EXPECT_EQ(error_after("{").at("code"), "invalid_json");
  EXPECT_EQ(error_after("").at("code"), "invalid_json");
  EXPECT_EQ(error_after("[]").at("code"), "invalid_type");
  EXPECT_EQ(error_after(R"({"model":"fake"})").at("param"), "messages");
  EXPECT_EQ(error_after(ChatBody(R"("temperature":5)")).at("param"), "temperature");
  EXPECT_EQ(error_after(ChatBody(R"("request_id":5)")).at("param"), "request_id");
  EXPECT_EQ(error_after(R"({"type":"cancel","id":"nobody"})").at("code"), "answer_not_found");
  client.Send(Opcode::kBinary, "x");
  EXPECT_EQ(ReadError(client).at("code"), "binary_message");
  service_.SetScript({.tokens = {'a'}, .fail_after_tokens = Internal("broke")});
  client.SendText(ChatBody());
  EXPECT_EQ(ReadAnswer(client).back().at("error").at("message"), "broke");
  service_.SetAnswer("fine");
  client.SendText(ChatBody());
  EXPECT_EQ(TextOf(ReadAnswer(client)), "fine");
}

TEST_F(ChatSocketTest, SeveralAnswersAtOnceAndOneCancelled) {
  service_.SetScript({.tokens = std::vector<int32_t>(400, 'a'), .token_time = std::chrono::milliseconds(1)});
  WebSocketClient client(port_, kPath);
  client.SendText(ChatBody(R"("request_id":"long")"));
  const JsonValue first = Parsed(client.ReadText());
  EXPECT_EQ(first.at("request_id"), "long");
  service_.SetAnswer("short");
  client.SendText(ChatBody(R"("request_id":"quick")"));
  std::string quick;
  while (quick != "short") {
    const JsonValue chunk = Parsed(client.ReadText());
    if (chunk.at("request_id") == "quick") quick += TextOf(std::vector<JsonValue>(1, chunk));
  }
  client.SendText(fmt::format(R"({{"type":"cancel","id":"{}"}})", Text(first.at("id"))));
  int num_done = 0;
  bool has_error = false;
  while (num_done < 2) {
    const std::string text = client.ReadText();
    ASSERT_NE(text, "");
    if (text == "[DONE]") {
      ++num_done;
    } else if (const JsonValue object = Parsed(text); object.as_object().contains("error")) {
      has_error = true;
      EXPECT_EQ(object.at("request_id"), "long");
      EXPECT_EQ(object.at("error").at("code"), "cancelled");
    }
  }
  EXPECT_TRUE(has_error);
  EXPECT_TRUE(Eventually([&] { return service_.num_cancelled() == 1; }));
}

TEST_F(ChatSocketTest, TooManyAnswersAreRefused) {
  service_.SetScript({.tokens = {'a'}, .prefill_time = http::kPatience});
  WebSocketClient client(port_, kPath);
  for (int i = 0; i < 33; ++i) client.SendText(ChatBody(fmt::format(R"("request_id":"{}")", i)));
  for (;;) {
    const JsonValue object = Parsed(client.ReadText());
    if (!object.as_object().contains("error")) continue;
    EXPECT_EQ(object.at("request_id"), "32");
    EXPECT_EQ(object.at("error").at("code"), "too_many_answers");
    break;
  }
  client.SendText(R"({"type":"cancel"})");
  EXPECT_TRUE(Eventually([&] { return service_.num_cancelled() == 32; }));
}

TEST_F(ChatSocketTest, ClientThatGoesCancels) {
  service_.SetScript({.tokens = {'a'}, .prefill_time = http::kPatience});
  {
    WebSocketClient client(port_, kPath);
    client.SendText(ChatBody());
    EXPECT_NE(client.ReadText(), "");
  }
  EXPECT_TRUE(Eventually([&] { return service_.num_cancelled() == 1 && service_.num_live() == 0; }));
}

TEST_F(ChatSocketTest, ShutdownEndsAnswersFirst) {
  service_.SetScript({.tokens = std::vector<int32_t>(50, 'a'), .token_time = std::chrono::milliseconds(1)});
  WebSocketClient idle(port_, kPath);
  WebSocketClient busy(port_, kPath);
  idle.SendText("{");
  ReadError(idle);
  busy.SendText(ChatBody());
  EXPECT_NE(busy.ReadText(), "");
  std::thread drain([&] { server_->Drain(Clock::now() + http::kPatience); });
  EXPECT_EQ(idle.Read().close_code(), 1001);
  idle.Send(Opcode::kClose, "\x03\xe9");
  idle.raw().Close();
  EXPECT_EQ(TextOf(ReadAnswer(busy)).size(), 50u);
  EXPECT_EQ(busy.Read().close_code(), 1001);
  busy.Send(Opcode::kClose, "\x03\xe9");
  busy.raw().Close();
  drain.join();
}

}  // namespace
}  // namespace lem
