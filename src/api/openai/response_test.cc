// What answers look like on the wire, byte for byte where clients are picky.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "api/openai/chat_response.h"
#include "api/openai/completion_response.h"
#include "api/openai/models.h"

namespace lem::openai {
namespace {

const Envelope kEnvelope{"id-1", 1700000000, "m", "fp_1"};
constexpr float kNoLogprob = std::numeric_limits<float>::quiet_NaN();

std::vector<std::string> Data(const WireMessages& messages) {
  std::vector<std::string> data;
  for (const WireMessage& message : messages) {
    EXPECT_EQ(message.event, "");
    EXPECT_TRUE(message.data == "[DONE]" || ParseJson(message.data).ok()) << message.data;
    data.push_back(message.data);
  }
  return data;
}
std::string Chunk(std::string_view object, std::string_view rest) {
  return fmt::format(R"({{"id":"id-1","object":"{}","created":1700000000,"model":"m","system_fingerprint":"fp_1",{}}})",
                     object, rest);
}
std::string ChatChunk(std::string_view rest) { return Chunk("chat.completion.chunk", rest); }

Usage SomeUsage() {
  Usage usage;
  usage.prompt_tokens = 5;
  usage.completion_tokens = 2;
  usage.cached_tokens = 3;
  usage.cache_miss = CacheMiss::kDiffers;
  return usage;
}
constexpr std::string_view kUsage =
    R"({"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":3,"cache_miss":"differs"},)"
    R"("completion_tokens_details":{"reasoning_tokens":0},"joules":null,"joules_source":"unavailable"})";

TEST(ChatResponseTest, StreamsChunks) {
  RequestOptions options;
  options.stream = options.include_usage = true;
  options.num_choices = 2;
  const auto writer = MakeChatWriter(kEnvelope, options);
  EXPECT_TRUE(writer->is_stream());
  const auto begin = Data(writer->Begin());
  ASSERT_EQ(begin.size(), 2u);
  EXPECT_EQ(begin[1], ChatChunk(R"("choices":[{"index":1,"delta":{"role":"assistant","content":"","refusal":null},)"
                                R"("logprobs":null,"finish_reason":null}],"usage":null)"));
  EXPECT_THAT(Data(writer->Text({1, "a\"\n", {}})),
              testing::ElementsAre(ChatChunk(R"("choices":[{"index":1,"delta":{"content":"a\"\n"},"logprobs":null,)"
                                             R"("finish_reason":null}],"usage":null)")));
  EXPECT_THAT(Data(writer->EndChoice({0, FinishReason::kLength, ""})),
              testing::ElementsAre(ChatChunk(
                  R"("choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}],"usage":null)")));
  EXPECT_THAT(Data(writer->End(SomeUsage())),
              testing::ElementsAre(ChatChunk(fmt::format(R"("choices":[],"usage":{})", kUsage)), "[DONE]"));
}

TEST(ChatResponseTest, StreamsWithoutUsageUnlessAsked) {
  RequestOptions options;
  options.stream = true;
  const auto writer = MakeChatWriter(kEnvelope, options);
  EXPECT_EQ(Data(writer->Begin())[0].find("usage"), std::string::npos);
  EXPECT_THAT(Data(writer->End(SomeUsage())), testing::ElementsAre("[DONE]"));
  EXPECT_THAT(Data(writer->Fail({"server_error", "broke", "", "internal"})),
              testing::ElementsAre(
                  R"({"error":{"message":"broke","type":"server_error","param":null,"code":"internal"}})", "[DONE]"));
}

TEST(ChatResponseTest, StreamsReasoningAndCalls) {
  RequestOptions options;
  options.stream = true;
  const auto writer = MakeChatWriter(kEnvelope, options);
  EXPECT_THAT(Data(writer->Reasoning(0, "hm")),
              testing::ElementsAre(ChatChunk(R"("choices":[{"index":0,"delta":{"reasoning_content":"hm",)"
                                             R"("reasoning":"hm"},"logprobs":null,"finish_reason":null}])")));
  EXPECT_THAT(Data(writer->ToolCall({0, 1, "call_x", "f", ""})),
              testing::ElementsAre(ChatChunk(
                  R"("choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_x","type":"function",)"
                  R"("function":{"name":"f","arguments":""}}]},"logprobs":null,"finish_reason":null}])")));
  EXPECT_THAT(Data(writer->ToolCall({0, 1, "", "", "{\"a"})),
              testing::ElementsAre(ChatChunk(R"("choices":[{"index":0,"delta":{"tool_calls":[{"index":1,)"
                                             R"("function":{"arguments":"{\"a"}}]},"logprobs":null,)"
                                             R"("finish_reason":null}])")));
  EXPECT_THAT(Data(writer->EndChoice({0, FinishReason::kStop, "", true, "repaired"})),
              testing::ElementsAre(ChatChunk(R"("choices":[{"index":0,"delta":{},"logprobs":null,)"
                                             R"("finish_reason":"tool_calls","lem_note":"repaired"}])")));
}

TEST(ChatResponseTest, WritesReasoningAndCalls) {
  const auto writer = MakeChatWriter(kEnvelope, {});
  (void)writer->Reasoning(0, "h");
  (void)writer->Reasoning(0, "m");
  (void)writer->ToolCall({0, 0, "c0", "f", ""});
  (void)writer->ToolCall({0, 0, "", "", "{}"});
  (void)writer->ToolCall({0, 1, "c1", "g", "{\"x\":1}"});
  (void)writer->EndChoice({0, FinishReason::kStop, "", true, ""});
  const std::string body = writer->End(SomeUsage()).front().data;
  EXPECT_THAT(body, testing::HasSubstr(
                        R"("message":{"role":"assistant","content":null,"reasoning_content":"hm","reasoning":"hm",)"
                        R"("tool_calls":[{"id":"c0","type":"function","function":{"name":"f","arguments":"{}"}},)"
                        R"({"id":"c1","type":"function","function":{"name":"g","arguments":"{\"x\":1}"}}],)"
                        R"("refusal":null})"));
  EXPECT_THAT(body, testing::HasSubstr(R"("finish_reason":"tool_calls")"));
}

TEST(ChatResponseTest, WritesOneBody) {
  RequestOptions options;
  options.num_choices = 2;
  const auto writer = MakeChatWriter(kEnvelope, options);
  EXPECT_FALSE(writer->is_stream());
  EXPECT_THAT(writer->Begin(), testing::IsEmpty());
  EXPECT_THAT(writer->Text({1, "b", {}}), testing::IsEmpty());
  EXPECT_THAT(writer->Text({0, "a", {}}), testing::IsEmpty());
  EXPECT_THAT(writer->Text({0, "a", {}}), testing::IsEmpty());
  EXPECT_THAT(writer->EndChoice({1, FinishReason::kLength, ""}), testing::IsEmpty());
  EXPECT_THAT(
      Data(writer->End(SomeUsage())),
      testing::ElementsAre(
          Chunk("chat.completion",
                fmt::format(R"("choices":[{{"index":0,"message":{{"role":"assistant","content":"aa","refusal":null}},)"
                            R"("logprobs":null,"finish_reason":"stop"}},{{"index":1,"message":{{"role":"assistant",)"
                            R"("content":"b","refusal":null}},"logprobs":null,"finish_reason":"length"}}],"usage":{})",
                            kUsage))));
}

TEST(ChatResponseTest, WritesLogprobs) {
  for (const bool stream : {true, false}) {
    RequestOptions options;
    options.num_logprobs = 2;
    options.stream = stream;
    const auto writer = MakeChatWriter(kEnvelope, options);
    WireMessages messages = writer->Text(
        {0,
         "é",
         {{{1, "\xc3", -0.5f}, {{1, "\xc3", -0.5f}}}, {{2, "\xa9", -std::numeric_limits<float>::infinity()}, {}}}});
    if (!stream) messages = writer->End({});
    const auto body = ParseJson(messages.at(0).data);
    ASSERT_TRUE(body.ok());
    const JsonValue& logprobs = body->at("choices").at(0).at("logprobs");
    EXPECT_TRUE(logprobs.at("refusal").is_null());
    const JsonArray& content = logprobs.at("content").as_array();
    ASSERT_EQ(content.size(), 2u);
    EXPECT_EQ(content[0].at("token"), "\uFFFD");
    EXPECT_EQ(content[0].at("bytes"), (JsonValue{0xc3}));
    EXPECT_EQ(content[0].at("logprob").as_double(), -0.5);
    EXPECT_EQ(content[0].at("top_logprobs").as_array().size(), 1u);
    EXPECT_EQ(content[0].at("top_logprobs").at(0).at("bytes"), (JsonValue{0xc3}));
    EXPECT_EQ(content[1].at("logprob").to_number<double>(), -9999);
    EXPECT_EQ(content[1].at("top_logprobs").as_array().size(), 0u);
  }
}

TEST(CompletionResponseTest, WritesEchoedLogprobsInTheOldForm) {
  RequestOptions options;
  options.num_logprobs = 1;
  const auto writer = MakeCompletionWriter(kEnvelope, options, 2, 1);
  writer->Text(
      {1, "né", {{{1, "n", kNoLogprob}, {}}, {{2, "\xc3", -1.5f}, {{7, "x", -0.25f}}}, {{3, "\xa9", -2.0f}, {}}}});
  writer->Text({1, "!", {{{4, "!", -0.5f}, {{4, "!", -0.5f}}}}});
  writer->EndChoice({1, FinishReason::kLength, ""});
  const auto body = ParseJson(writer->End(SomeUsage()).at(0).data);
  ASSERT_TRUE(body.ok());
  EXPECT_EQ(body->at("object"), "text_completion");
  const JsonValue& choice = body->at("choices").at(1);
  EXPECT_EQ(choice.at("text"), "né!");
  EXPECT_EQ(choice.at("finish_reason"), "length");
  const JsonValue& logprobs = choice.at("logprobs");
  EXPECT_EQ(logprobs.at("tokens"), (JsonValue{"n", "bytes:\\xc3", "bytes:\\xa9", "!"}));
  EXPECT_EQ(logprobs.at("text_offset"), (JsonValue{0, 1, 2, 2}));
  EXPECT_EQ(logprobs.at("token_logprobs"), (JsonValue{nullptr, -1.5, -2, -0.5}));
  const JsonArray& top = logprobs.at("top_logprobs").as_array();
  EXPECT_TRUE(top[0].is_null());
  EXPECT_EQ(top[1], *ParseJson(R"({"x":-0.25,"bytes:\\xc3":-1.5})"));  // the chosen one is always there
  EXPECT_EQ(top[3], *ParseJson(R"({"!":-0.5})"));
  EXPECT_EQ(body->at("choices").at(0).at("logprobs").at("tokens").as_array().size(), 0u);
}

TEST(CompletionResponseTest, TheLikeliestOfEachPromptAreWritten) {
  RequestOptions options;
  options.num_choices = 2;
  const auto writer = MakeCompletionWriter(kEnvelope, options, 6, 3);
  const auto add = [&](int32_t choice, std::string text, const std::vector<float>& logprobs) {
    AnswerText piece{choice, std::move(text), {}};
    for (const float logprob : logprobs) piece.tokens.push_back({{1, "x", logprob}, {}});
    writer->Text(std::move(piece));
    writer->EndChoice({choice, FinishReason::kStop, ""});
  };
  add(0, "a", {-3});
  add(1, "b", {-1, -2});
  add(2, "c", {-1, -1, -1, -1, -1});  // long, and likelier by token
  add(3, "d", {-1});
  add(4, "e", {});
  add(5, "f", {-2});
  const auto body = ParseJson(writer->End(SomeUsage()).at(0).data);
  std::string texts;
  for (const JsonValue& choice : body->at("choices").as_array()) {
    texts += choice.at("text").as_string();
    EXPECT_EQ(choice.at("index"), texts.size() - 1);
    EXPECT_TRUE(choice.at("logprobs").is_null());
  }
  EXPECT_EQ(texts, "cbdf");
}

TEST(CompletionResponseTest, StreamsChunks) {
  RequestOptions options;
  options.stream = options.include_usage = true;
  options.num_logprobs = 0;
  const auto writer = MakeCompletionWriter(kEnvelope, options, 1, 1);
  EXPECT_THAT(writer->Begin(), testing::IsEmpty());
  EXPECT_THAT(Data(writer->Text({0, "ab", {{{1, "ab", -1.0f}, {}}}})),
              testing::ElementsAre(
                  Chunk("text_completion",
                        R"("choices":[{"text":"ab","index":0,"logprobs":{"text_offset":[0],"tokens":["ab"],)"
                        R"("token_logprobs":[-1],"top_logprobs":[{"ab":-1}]},"finish_reason":null}],"usage":null)")));
  // Offsets go on where the last chunk ended.
  EXPECT_THAT(Data(writer->Text({0, "c", {{{2, "c", -1.0f}, {}}}}))[0], testing::HasSubstr(R"("text_offset":[2])"));
  EXPECT_THAT(Data(writer->EndChoice({0, FinishReason::kStop, "x"})),
              testing::ElementsAre(
                  Chunk("text_completion",
                        R"("choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}],"usage":null)")));
  EXPECT_EQ(Data(writer->End(SomeUsage())).size(), 2u);
}

TEST(ModelsTest, WritesListAndOne) {
  const ModelSummary ready{"a", 5, 2048, "ready"};
  const ModelSummary loading{"b", 6, 0, "loading"};
  EXPECT_EQ(WriteModelList(std::vector{ready, loading}),
            fmt::format(R"({{"object":"list","data":[{},{}]}})", WriteModel(ready), WriteModel(loading)));
  EXPECT_EQ(WriteModel(ready), R"({"id":"a","object":"model","created":5,"owned_by":"lemonade","context_length":2048,)"
                               R"("state":"ready"})");
  EXPECT_THAT(WriteModel(loading), testing::HasSubstr(R"("context_length":null)"));
}

}  // namespace
}  // namespace lem::openai
