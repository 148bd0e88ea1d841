#include "api/ollama/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem::ollama {
namespace {

using testing::ElementsAre;
using Kind = Request::Kind;

ParseResult<Request> Chat(std::string_view body) { return ParseChat(*ParseJson(body)); }
ParseResult<Request> Generate(std::string_view more) {
  return ParseGenerate(*ParseJson(fmt::format(R"({{"model":"m"{}{}}})", more.empty() ? "" : ",", more)));
}
std::string ParamAtFault(const ParseResult<Request>& request) { return request ? "" : request.error().param; }

TEST(OllamaRequestTest, ChatsStreamByDefaultWithOllamasSampling) {
  const auto request = Chat(R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"unheard_of":1})");
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->kind, Kind::kChat);
  EXPECT_TRUE(request->stream && request->chat.options.stream);
  const SamplingParams& sampling = request->chat.options.sampling;
  EXPECT_EQ(sampling.temperature, 0.8f);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_EQ(sampling.top_p, 0.9f);
  EXPECT_FALSE(sampling.seed.has_value());
  EXPECT_EQ(request->chat.options.max_tokens, -1);
}

TEST(OllamaRequestTest, ReadsOptions) {
  const auto request = Generate(R"("prompt":"x","stream":false,"keep_alive":"5m","options":{"temperature":0,"seed":7,
      "num_predict":9,"top_k":1,"repeat_penalty":1.1,"repeat_last_n":32,"stop":["a","b"],"num_ctx":4096,"mirostat":0})");
  ASSERT_TRUE(request.has_value()) << request.error().status.message();
  const RequestOptions& options = request->chat.options;
  EXPECT_FALSE(options.stream);
  EXPECT_EQ(options.sampling.temperature, 0.0f);
  EXPECT_EQ(options.sampling.seed, 7u);
  EXPECT_EQ(options.max_tokens, 9);
  EXPECT_EQ(options.sampling.repetition_penalty, 1.1f);
  EXPECT_EQ(options.sampling.penalty_window, 32);
  EXPECT_THAT(options.stop, ElementsAre("a", "b"));
  EXPECT_EQ(Generate(R"("prompt":"x","options":{"num_predict":-1,"stop":"a"})")->chat.options.max_tokens, -1);
}

TEST(OllamaRequestTest, NoPromptLoadsOrUnloads) {
  EXPECT_EQ(Generate("")->kind, Kind::kLoad);
  EXPECT_EQ(Generate(R"("prompt":"","keep_alive":-1)")->kind, Kind::kLoad);
  for (const char* zero : {"0", "\"0\"", "\"0s\"", "0.0", "\"0m\""}) {
    EXPECT_EQ(Generate(fmt::format(R"("keep_alive":{})", zero))->kind, Kind::kUnload) << zero;
  }
  for (const char* more : {"300", "\"5m\"", "\"1h30m\"", "-1", "\"24h\"", "\"10ms\""}) {
    EXPECT_EQ(Generate(fmt::format(R"("keep_alive":{})", more))->kind, Kind::kLoad) << more;
  }
  const std::pair<const char*, int> durations[] = {{"\"5m\"", 300}, {"\"1h30m\"", 5400}, {"\"10ms\"", 1}, {"-1", -1},
                                                   {"\"-1m\"", -1}, {"2.5", 3},          {"\"90\"", 90}};
  for (const auto& [text, seconds] : durations) {
    EXPECT_EQ(Generate(fmt::format(R"("keep_alive":{})", text))->keep_alive, std::chrono::seconds(seconds)) << text;
  }
  EXPECT_FALSE(Generate("")->keep_alive.has_value());
  EXPECT_EQ(Chat(R"({"model":"m","messages":[]})")->kind, Kind::kLoad);
  EXPECT_EQ(Generate(R"("prompt":"x","keep_alive":0)")->kind, Kind::kChat);
}

TEST(OllamaRequestTest, GeneratesFromTemplateOrRaw) {
  const auto chat = Generate(R"("prompt":"x","system":"s")");
  ASSERT_EQ(chat->chat.messages.size(), 2u);
  EXPECT_EQ(chat->chat.messages[0].role, "system");
  EXPECT_EQ(chat->chat.messages[1].content, "x");
  const auto raw = Generate(R"("prompt":"<s>x","raw":true,"options":{"num_predict":3})");
  EXPECT_EQ(raw->kind, Kind::kText);
  EXPECT_EQ(std::get<std::string>(raw->text.prompts.at(0)), "<s>x");
  EXPECT_EQ(raw->text.options.max_tokens, 3);
  EXPECT_EQ(raw->text.special_tokens, SpecialTokens::kParse);
  EXPECT_EQ(Generate(R"("prompt":"x","suffix":"y")")->text.suffix, "y");
}

TEST(OllamaRequestTest, ReadsMessagesToolsFormatAndThink) {
  const auto request = Chat(R"({"model":"m","think":"low","format":{"type":"object"},
      "tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"messages":[
      {"role":"user","content":"Hi","images":[]},
      {"role":"assistant","content":"","thinking":"hm","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},
      {"role":"tool","tool_name":"f","content":"1"}]})");
  ASSERT_TRUE(request.has_value()) << request.error().status.message();
  EXPECT_EQ(request->think, true);
  EXPECT_EQ(request->chat.template_arguments.at("reasoning_effort"), "low");
  EXPECT_EQ(request->chat.options.form.kind, OutputForm::Kind::kJsonSchema);
  EXPECT_EQ(request->chat.tools.size(), 1u);
  EXPECT_EQ(request->chat.messages[1].extra.at("reasoning_content"), "hm");
  EXPECT_EQ(request->chat.messages[1].extra.at("tool_calls").at(0).at("function").at("arguments"),
            *ParseJson(R"({"a":1})"));
  EXPECT_EQ(request->chat.messages[2].extra.at("name"), "f");
  EXPECT_EQ(Generate(R"("prompt":"x","format":"json")")->chat.options.form.kind, OutputForm::Kind::kJsonObject);
  EXPECT_EQ(Generate(R"("prompt":"x","format":"")")->chat.options.form.kind, OutputForm::Kind::kText);
  EXPECT_EQ(Generate(R"("prompt":"x","think":false)")->chat.template_arguments.at("enable_thinking"), false);
}

TEST(OllamaRequestTest, AssistantsLastMessageBeginsTheAnswer) {
  const auto request =
      Chat(R"({"model":"m","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"He"}]})");
  EXPECT_EQ(request->chat.answer_prefix, "He");
  EXPECT_EQ(request->chat.messages.size(), 1u);
}

TEST(OllamaRequestTest, RefusalsNameTheField) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {R"("prompt":5)", "prompt"},
      {R"("prompt":"x","images":["AAAA"])", "images"},
      {R"("prompt":"x","options":{"temperature":"hot"})", "options.temperature"},
      {R"("prompt":"x","options":{"num_ctx":"big"})", "options.num_ctx"},
      {R"("prompt":"x","options":{"stop":5})", "options.stop"},
      {R"("prompt":"x","options":[])", "options"},
      {R"("prompt":"x","format":"yaml")", "format"},
      {R"("prompt":"x","format":5)", "format"},
      {R"("prompt":"x","think":"much")", "think"},
      {R"("prompt":"x","stream":"no")", "stream"},
      {R"("prompt":"x","keep_alive":"soon")", "keep_alive"},
      {R"("prompt":"x","keep_alive":{})", "keep_alive"},
      {R"("prompt":"x","keep_alive":"")", "keep_alive"},
      {R"("prompt":"x","keep_alive":"5x")", "keep_alive"},
      {R"("prompt":"x","keep_alive":"m")", "keep_alive"},
      {R"("prompt":"x","template":"{{ .Prompt }}")", "template"},
      {R"("prompt":"x","context":[1])", "context"},
      {R"("prompt":"x","top_logprobs":21)", "top_logprobs"},
  };
  for (const auto& [field, param] : cases) EXPECT_EQ(ParamAtFault(Generate(field)), param) << field;
  EXPECT_EQ(ParamAtFault(Chat(R"({"messages":[]})")), "model");
  EXPECT_EQ(ParamAtFault(Chat(R"({"model":"m","messages":[{"role":"robot"}]})")), "messages[0].role");
  EXPECT_EQ(ParamAtFault(Chat(R"({"model":"m","messages":[{"role":"user","images":["x"]}]})")), "messages[0].images");
  EXPECT_EQ(ParamAtFault(Chat(R"({"model":"m","messages":["x"]})")), "messages[0]");
  EXPECT_EQ(ParamAtFault(Chat(R"({"model":"m","tools":[{"function":{}}]})")), "tools[0].function.name");
  EXPECT_FALSE(ParseChat(*ParseJson("[]")).has_value());
}

TEST(OllamaRequestTest, NamedModels) {
  EXPECT_EQ(ParseNamedModel(*ParseJson(R"({"model":"a"})"))->name, "a");
  EXPECT_EQ(ParseNamedModel(*ParseJson(R"({"name":"a","stream":false})"))->stream, false);
  EXPECT_EQ(ParseNamedModel(*ParseJson("{}")).error().param, "model");
  EXPECT_FALSE(ParseNamedModel(*ParseJson("5")).has_value());
}

}  // namespace
}  // namespace lem::ollama
