#include "api/ollama/response.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/ollama/models.h"
#include "base/json.h"

namespace lem::ollama {
namespace {

using testing::HasSubstr;

// The lines, without the time that they were made at.
std::vector<JsonValue> Lines(const WireMessages& messages) {
  std::vector<JsonValue> lines;
  for (const WireMessage& message : messages) {
    auto json = ParseJson(message.data);
    EXPECT_TRUE(json.ok()) << message.data;
    EXPECT_EQ(message.data.find('\n'), std::string::npos);
    if (json->as_object().contains("created_at")) {
      EXPECT_THAT(std::string(json->at("created_at").as_string()), testing::MatchesRegex("2.*T..:..:......*Z"));
      json->as_object().erase("created_at");
    }
    lines.push_back(*std::move(json));
  }
  return lines;
}
JsonValue Line(const WireMessages& messages) {
  const auto lines = Lines(messages);
  EXPECT_EQ(lines.size(), 1u);
  return lines.empty() ? JsonValue() : lines.front();
}

ResponseOptions Options(Answer answer, bool stream) {
  return {.answer = answer, .model = "m", .stream = stream, .received_at = Clock::now()};
}

TEST(OllamaResponseTest, StreamsAChat) {
  const auto writer = MakeWriter(Options(Answer::kChat, true));
  EXPECT_TRUE(writer->is_stream());
  EXPECT_EQ(writer->framing(), StreamFraming::kJsonLines);
  EXPECT_TRUE(writer->Begin().empty());
  EXPECT_EQ(Line(writer->Reasoning(0, "hm")),
            *ParseJson(R"({"model":"m","message":{"role":"assistant","content":"","thinking":"hm"},"done":false})"));
  EXPECT_EQ(Line(writer->Text({0, "a\n", {}})),
            *ParseJson(R"({"model":"m","message":{"role":"assistant","content":"a\n"},"done":false})"));
  EXPECT_TRUE(writer->ToolCall({0, 0, "call_1", "f", ""}).empty());
  EXPECT_TRUE(writer->ToolCall({0, 0, "", "", R"({"a":)"}).empty());
  EXPECT_TRUE(writer->ToolCall({0, 0, "", "", "1}"}).empty());
  EXPECT_EQ(
      Line(writer->ToolCall({0, 1, "call_2", "g", ""})),
      *ParseJson(R"({"model":"m","message":{"role":"assistant","content":"","tool_calls":[{"id":"call_1","function":
                {"index":0,"name":"f","arguments":{"a":1}}}]},"done":false})"));
  EXPECT_EQ(
      Line(writer->EndChoice({0, FinishReason::kStop, "", true, ""})).at("message").at("tool_calls").at(0).at("id"),
      "call_2");
  Usage usage;
  usage.prompt_tokens = 5;
  usage.completion_tokens = 2;
  usage.prefill_ms = 2;
  usage.decode_ms = 1.5;
  JsonValue last = Line(writer->End(usage));
  EXPECT_GE(last.at("total_duration").as_int64(), 0);
  last.as_object().erase("total_duration");
  EXPECT_EQ(last,
            *ParseJson(R"({"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",
      "load_duration":0,"prompt_eval_count":5,"prompt_eval_duration":2000000,"eval_count":2,"eval_duration":1500000})"));
}

TEST(OllamaResponseTest, WritesOneBody) {
  ResponseOptions options = Options(Answer::kGenerate, false);
  options.with_logprobs = true;
  options.thinking = false;
  const auto writer = MakeWriter(options);
  EXPECT_FALSE(writer->is_stream());
  EXPECT_TRUE(writer->Reasoning(0, "hm").empty());
  EXPECT_TRUE(writer->Text({0, "a", {{{1, "a", -0.5f}, {{1, "a", -0.5f}, {2, "b", -1.0f}}}}}).empty());
  EXPECT_TRUE(writer->Text({0, "b", {}}).empty());
  EXPECT_TRUE(writer->EndChoice({0, FinishReason::kLength, "", false, ""}).empty());
  const JsonValue body = Line(writer->End({}));
  EXPECT_EQ(body.at("response"), "ab");
  EXPECT_FALSE(body.as_object().contains("thinking"));
  EXPECT_EQ(body.at("done_reason"), "length");
  EXPECT_EQ(body.at("logprobs"),
            *ParseJson(R"([{"token":"a","logprob":-0.5,"top_logprobs":[{"token":"a","logprob":-0.5},
      {"token":"b","logprob":-1.0}]}])"));
}

TEST(OllamaResponseTest, ErrorsAndLoads) {
  EXPECT_EQ(WriteError({"t", "no \"x\"", "p", "c", "r"}), R"({"error":"no \"x\""})");
  EXPECT_EQ(
      Line({{WriteLoaded(Options(Answer::kChat, true), "load"), ""}}),
      *ParseJson(R"({"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"load"})"));
  EXPECT_EQ(Line({{WriteLoaded(Options(Answer::kGenerate, true), "unload"), ""}}),
            *ParseJson(R"({"model":"m","response":"","done":true,"done_reason":"unload"})"));
}

TEST(OllamaModelsTest, WritesModels) {
  EXPECT_EQ(WithTag("a"), "a:latest");
  EXPECT_EQ(WithTag("a:135m"), "a:135m");
  EXPECT_EQ(WithTag("host:80/a"), "host:80/a:latest");
  Model model{"a:latest", "ff", 7, 1700000000, "llama", "Q4_1", 135'000'000, 2048, std::nullopt, "T", {"completion"}};
  const auto tags = ParseJson(WriteTags(std::vector{model}));
  EXPECT_EQ(*tags, *ParseJson(R"({"models":[{"name":"a:latest","model":"a:latest","size":7,"digest":"ff","details":{
      "parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"135M",
      "quantization_level":"Q4_1","context_length":2048},"modified_at":"2023-11-14T22:13:20Z"}]})"));
  EXPECT_THAT(WriteLoadedModels(std::vector{model}), HasSubstr(R"("size_vram":0,"context_length":2048)"));
  model.expires_unix_s = 1700000000;
  EXPECT_THAT(WriteLoadedModels(std::vector{model}), HasSubstr(R"("expires_at":"2023-11-14T22:13:20Z")"));
  const auto show = ParseJson(WriteShow(model));
  EXPECT_EQ(show->at("model_info").at("llama.context_length"), 2048);
  EXPECT_EQ(show->at("template"), "T");
  EXPECT_EQ(show->at("capabilities"), (JsonValue{"completion"}));
  EXPECT_EQ(WriteProgress({"success", "", 0, 0}), R"({"status":"success"})");
  EXPECT_EQ(WriteProgress({"x", "ab", 9, 3}), R"({"status":"x","digest":"sha256:ab","total":9,"completed":3})");
}

}  // namespace
}  // namespace lem::ollama
