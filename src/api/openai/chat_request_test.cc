// Chat completion bodies: what becomes of each field, and which field an error names.
#include "api/openai/chat_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/openai/parameters.h"

namespace lem::openai {
namespace {

constexpr std::string_view kHello = R"("model":"m","messages":[{"role":"user","content":"Hello"}])";

ParseResult<ChatRequest> Parse(std::string_view json) {
  const auto body = ParseJson(json);
  EXPECT_TRUE(body.ok()) << body.status().ToString() << " " << json;
  return ParseChatRequest(*body);
}
ChatRequest Taken(std::string_view json) {
  auto request = Parse(json);
  EXPECT_TRUE(request.has_value()) << request.error().status.message() << " " << json;
  return request ? *std::move(request) : ChatRequest();
}
// A request with one message and these further fields.
std::string With(std::string_view fields) { return fmt::format("{{{},{}}}", kHello, fields); }
std::string WithMessage(std::string_view message) { return fmt::format(R"({{"model":"m","messages":[{}]}})", message); }

TEST(ChatRequestTest, DefaultsAreOpenAis) {
  const ChatRequest request = Taken(fmt::format("{{{}}}", kHello));
  EXPECT_EQ(request.options.model, "m");
  ASSERT_EQ(request.messages.size(), 1u);
  EXPECT_EQ(request.messages[0].role, "user");
  EXPECT_EQ(request.messages[0].content, "Hello");
  EXPECT_EQ(request.options.max_tokens, -1);
  EXPECT_EQ(request.options.num_choices, 1);
  EXPECT_EQ(request.options.num_logprobs, -1);
  EXPECT_FALSE(request.options.stream);
  EXPECT_FLOAT_EQ(request.options.sampling.temperature, 1.0f);
  EXPECT_FALSE(request.options.sampling.seed.has_value());
}

TEST(ChatRequestTest, ReadsEveryOption) {
  const RequestOptions options =
      Taken(With(
                R"("temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.05,"typical_p":0.8,"repetition_penalty":1.1,
         "frequency_penalty":-0.5,"presence_penalty":0.25,"repeat_last_n":64,"logit_bias":{"5":-100,"7":1.5},"seed":-1,
         "n":3,"stop":["a","","b"],"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false},
         "logprobs":true,"top_logprobs":4,"max_tokens":7,"max_completion_tokens":9,"ignore_eos":true,"cache_salt":"me")"))
          .options;
  EXPECT_FLOAT_EQ(options.sampling.temperature, 0.5f);
  EXPECT_FLOAT_EQ(options.sampling.top_p, 0.9f);
  EXPECT_EQ(options.sampling.top_k, 40);
  EXPECT_FLOAT_EQ(options.sampling.min_p, 0.05f);
  EXPECT_FLOAT_EQ(options.sampling.typical_p, 0.8f);
  EXPECT_FLOAT_EQ(options.sampling.repetition_penalty, 1.1f);
  EXPECT_FLOAT_EQ(options.sampling.frequency_penalty, -0.5f);
  EXPECT_FLOAT_EQ(options.sampling.presence_penalty, 0.25f);
  EXPECT_EQ(options.sampling.penalty_window, 64);
  EXPECT_THAT(options.sampling.logit_bias, testing::ElementsAre(std::pair(5, -100.0f), std::pair(7, 1.5f)));
  EXPECT_EQ(options.sampling.seed, ~uint64_t{0});
  EXPECT_EQ(options.num_choices, 3);
  EXPECT_THAT(options.stop, testing::ElementsAre("a", "b"));
  EXPECT_TRUE(options.stream && options.include_usage && options.ignore_end_tokens);
  EXPECT_EQ(options.cache_salt, "me");
  EXPECT_EQ(options.num_logprobs, 4);
  EXPECT_EQ(options.max_tokens, 9);
  EXPECT_EQ(Taken(With(R"("top_k":-1)")).options.sampling.top_k, 0);
  EXPECT_EQ(Taken(With(R"("logprobs":true)")).options.num_logprobs, 0);
  EXPECT_FLOAT_EQ(Taken(With(R"("repeat_penalty":1.3)")).options.sampling.repetition_penalty, 1.3f);
  EXPECT_THAT(Taken(With(R"("stop":"end")")).options.stop, testing::ElementsAre("end"));
}

TEST(ChatRequestTest, ToleratesWhatChangesNothing) {
  Taken(With(R"("prediction":{"type":"content","content":"x"},"prompt_cache_key":"k","safety_identifier":"s",
                "prompt_cache_retention":"24h","prompt_cache_options":{},"verbosity":"medium","audio":null,
                "user":"u","metadata":{"a":1},"store":false,"service_tier":"auto","response_format":{"type":"text"},
                "tool_choice":"auto","parallel_tool_calls":true,"some_vendor_field":[1],"stop":null,"n":null)"));
}

TEST(ChatRequestTest, ReadsMessages) {
  const ChatRequest request = Taken(R"({"model":"m","messages":[
    {"role":"developer","content":"Be terse."},
    {"role":"user","content":[{"type":"text","text":"one"},{"type":"text","text":"two"}],"name":"Ann"},
    {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function",
        "function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"c2","type":"function",
        "function":{"name":"g","arguments":"not json"}}]},
    {"role":"tool","tool_call_id":"c1","content":"42"}]})");
  ASSERT_EQ(request.messages.size(), 4u);
  EXPECT_EQ(request.messages[0].role, "system");
  EXPECT_EQ(request.messages[1].content, "one\ntwo");
  EXPECT_EQ(request.messages[1].extra.at("name"), "Ann");
  EXPECT_EQ(request.messages[2].content, "");
  const JsonArray& calls = request.messages[2].extra.at("tool_calls").as_array();
  EXPECT_EQ(calls[0].at("function").at("arguments").at("x"), 1);
  EXPECT_EQ(calls[1].at("function").at("arguments"), "not json");
  EXPECT_EQ(request.messages[3].extra.at("tool_call_id"), "c1");
}

TEST(ChatRequestTest, RefusalsAreWhatTheAssistantSaid) {
  const ChatRequest request = Taken(
      R"({"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"refusal":"No."}]})");
  EXPECT_EQ(request.messages[1].content, "No.");
}

TEST(ChatRequestTest, NoEffortIsNoThinking) {
  EXPECT_EQ(Taken(With(R"("reasoning_effort":"none")")).template_arguments.at("enable_thinking"), false);
  EXPECT_FALSE(Taken(With(R"("reasoning_effort":"high")")).template_arguments.contains("enable_thinking"));
  const auto both = R"("reasoning_effort":"none","chat_template_kwargs":{"enable_thinking":true})";
  EXPECT_EQ(Taken(With(both)).template_arguments.at("enable_thinking"), true);
}

TEST(ChatRequestTest, PassesToolsAndTemplateArguments) {
  constexpr std::string_view kTools = R"("tools":[{"type":"function","function":{"name":"f","parameters":{}}}])";
  EXPECT_EQ(Taken(With(kTools)).tools.size(), 1u);
  EXPECT_EQ(Taken(With(fmt::format(R"({},"tool_choice":"none")", kTools))).tools.size(), 0u);
  const ChatRequest request =
      Taken(With(R"("chat_template_kwargs":{"enable_thinking":false},"reasoning_effort":"low")"));
  EXPECT_EQ(request.template_arguments.at("enable_thinking"), false);
  EXPECT_EQ(request.template_arguments.at("reasoning_effort"), "low");
}

struct Refusal {
  std::string json;
  std::string param;
  std::string code;
};

TEST(ChatRequestTest, RefusalsNameTheField) {
  const Refusal kRefusals[] = {
      {"[]", "", "invalid_type"},
      {"7", "", "invalid_type"},
      {R"({"messages":[]})", "model", "missing_required_parameter"},
      {R"({"model":5,"messages":[]})", "model", "invalid_type"},
      {R"({"model":"m"})", "messages", "missing_required_parameter"},
      {R"({"model":"m","messages":"hi"})", "messages", "invalid_type"},
      {R"({"model":"m","messages":[]})", "messages", "empty_array"},
      {WithMessage("1"), "messages[0]", "invalid_type"},
      {WithMessage("{}"), "messages[0].role", "missing_required_parameter"},
      {WithMessage(R"({"role":"robot","content":"x"})"), "messages[0].role", "invalid_value"},
      {WithMessage(R"({"role":"user"})"), "messages[0].content", "missing_required_parameter"},
      {WithMessage(R"({"role":"user","content":{"a":1}})"), "messages[0].content", "invalid_type"},
      {WithMessage(R"({"role":"user","content":["x"]})"), "messages[0].content[0]", "invalid_type"},
      {WithMessage(
           R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]})"),
       "messages[0].content[1].type", "unsupported_value"},
      {WithMessage(R"({"role":"user","content":[{"type":"input_audio"}]})"), "messages[0].content[0].type",
       "unsupported_value"},
      {WithMessage(R"({"role":"user","content":[{"type":"text"}]})"), "messages[0].content[0].text",
       "missing_required_parameter"},
      {WithMessage(R"({"role":"assistant","tool_calls":[{"id":"x"}]})"), "messages[0].tool_calls[0]", "invalid_type"},
      {With(R"("stop":[1])"), "stop[0]", "invalid_type"},
      {With(R"("stop":["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"])"), "stop",
       "array_above_max_length"},
      {With(fmt::format(R"("stop":"{}")", std::string(kMaxStopBytes + 1, 'x'))), "stop", "string_above_max_length"},
      {With(R"("logit_bias":{"x":1})"), "logit_bias", "invalid_value"},
      {With(R"("logit_bias":{"-1":1})"), "logit_bias", "invalid_value"},
      {With(R"("logit_bias":{"99999999999":1})"), "logit_bias", "invalid_value"},
      {With(R"("stream_options":{"include_usage":true})"), "stream_options", "invalid_value"},
      {With(R"("stream":true,"stream_options":{"include_usage":1})"), "stream_options.include_usage", "invalid_type"},
      {With(R"("top_logprobs":2)"), "top_logprobs", "invalid_value"},
      {With(R"("logprobs":false,"top_logprobs":2)"), "top_logprobs", "invalid_value"},
      {With(R"("response_format":{"type":"xml"})"), "response_format.type", "invalid_value"},
      {With(R"("tool_choice":"maybe")"), "tool_choice", "invalid_value"},
      {With(R"("tools":[{"type":"function"}])"), "tools[0]", "invalid_type"},
      {With(R"("chat_template_kwargs":{"messages":[]})"), "chat_template_kwargs", "invalid_value"},
      {WithMessage(R"({"role":"assistant","audio":{"id":"a"}})"), "messages[0].audio", "unsupported_parameter"},
      {WithMessage(R"({"role":"assistant","function_call":{"name":"f","arguments":"{}"}})"),
       "messages[0].function_call", "unsupported_parameter"},
      {With(R"("reasoning_effort":"much")"), "reasoning_effort", "invalid_value"},
      {With(R"("user":5)"), "user", "invalid_type"},
      {With(R"("metadata":"x")"), "metadata", "invalid_type"},
      {With(R"("store":"yes")"), "store", "invalid_type"},
      {With(R"("prediction":[])"), "prediction", "invalid_type"},
      {With(R"("n":129)"), "n", "integer_above_max_value"},
      {With(R"("temperature":-0.1)"), "temperature", "decimal_below_min_value"},
      {With(R"("temperature":"hot")"), "temperature", "invalid_type"},
  };
  for (const Refusal& refusal : kRefusals) {
    const auto request = Parse(refusal.json);
    ASSERT_FALSE(request.has_value()) << refusal.json;
    EXPECT_EQ(request.error().param, refusal.param) << refusal.json;
    EXPECT_EQ(request.error().code, refusal.code) << refusal.json;
    EXPECT_NE(request.error().status.message().find(refusal.param), std::string::npos);
  }
}

TEST(ChatRequestTest, MessagesOfRefusalsNameValueAndRange) {
  EXPECT_EQ(Parse(With(R"("temperature":2.5)")).error().status.message(),
            "temperature is 2.5; allowed: a number from 0 to 2");
  EXPECT_EQ(Parse(With(R"("top_k":"x")")).error().status.message(),
            "top_k is \"x\"; allowed: a whole number from -1 to 2147483647");
  // Long and broken values are cut, whole code points only.
  const std::string message =
      Parse(With(fmt::format(R"("n":"{}")", std::string(59, 'x') + "ä"))).error().status.message();
  EXPECT_EQ(message,
            fmt::format("n is \"{}\" and 2 bytes more; allowed: a whole number from 1 to 128", std::string(59, 'x')));
}

}  // namespace
}  // namespace lem::openai
