// Bodies of POST /v1/responses: what they ask of a model, what is refused, and what the response repeats of them.
#include "api/openai/responses_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem::openai {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

ParseResult<ResponsesRequest> Parse(std::string_view body, const std::string& earlier = "[]") {
  const auto json = ParseJson(body);
  EXPECT_TRUE(json.ok()) << json.status().ToString();
  return ParseResponsesRequest(*json, "resp_1", [&](const std::string& id) -> ParseResult<JsonArray> {
    if (id == "gone") return tl::unexpected(RequestError{InvalidArgument("gone"), "previous_response_id", "x"});
    return ParseJson(earlier)->as_array();
  });
}

ResponsesRequest Taken(std::string_view more, const std::string& earlier = "[]") {
  auto request = Parse(fmt::format(R"({{"model":"m",{}}})", more), earlier);
  EXPECT_TRUE(request) << request.error().status.ToString();
  return request ? *std::move(request) : ResponsesRequest();
}

// The name of the field at fault.
std::string Refused(std::string_view more) {
  const auto request = Parse(fmt::format(R"({{"model":"m",{}}})", more));
  if (request) return "nothing";
  EXPECT_EQ(request.error().status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(request.error().status.message(), "");
  return request.error().param;
}

// "role: content" of each message.
std::vector<std::string> Messages(const ResponsesRequest& request) {
  std::vector<std::string> lines;
  lines.reserve(request.chat.messages.size());
  for (const ChatMessage& message : request.chat.messages) lines.push_back(message.role + ": " + message.content);
  return lines;
}

TEST(ResponsesRequestTest, TextIsAMessageOfTheUser) {
  const ResponsesRequest request = Taken(R"("input":"Hi","instructions":"Be brief.")");
  EXPECT_THAT(Messages(request), ElementsAre("system: Be brief.", "user: Hi"));
  EXPECT_EQ(request.chat.options.model, "m");
  EXPECT_EQ(request.chat.options.max_tokens, -1);
  EXPECT_TRUE(request.store);
  EXPECT_FALSE(request.background);
  EXPECT_EQ(*ParseJson(request.input),
            *ParseJson(R"([{"role":"user","content":[{"type":"input_text","text":"Hi"}],"id":"item_resp_1_0",
                            "type":"message","status":"completed"}])"));
}

TEST(ResponsesRequestTest, ItemsBecomeMessages) {
  const ResponsesRequest request = Taken(R"("instructions":"A","input":[
      {"type":"message","role":"developer","content":[{"type":"input_text","text":"B"},{"type":"input_text","text":"C"}]},
      {"role":"user","content":"Weather?"},
      {"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"Hm."}]},
      {"type":"message","role":"assistant","id":"msg_1","status":"completed",
       "content":[{"type":"output_text","text":"Let me see.","annotations":[]}]},
      {"type":"function_call","call_id":"c1","name":"f","arguments":"{\"x\":1}"},
      {"type":"function_call","call_id":"c2","name":"g","arguments":"broken"},
      {"type":"function_call_output","call_id":"c1","output":"one"},
      {"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"two"}]},
      {"role":"system","content":"later"}])");
  EXPECT_THAT(Messages(request), ElementsAre("system: A\n\nB\nC", "user: Weather?", "assistant: Let me see.",
                                             "tool: one", "tool: two", "system: later"));
  const JsonObject& answer = request.chat.messages[2].extra;
  EXPECT_EQ(answer.at("reasoning_content"), "Hm.");
  EXPECT_EQ(answer.at("tool_calls"),
            *ParseJson(R"([{"id":"c1","type":"function","function":{"name":"f","arguments":{"x":1}}},
                           {"id":"c2","type":"function","function":{"name":"g","arguments":"broken"}}])"));
  EXPECT_EQ(request.chat.messages[4].extra.at("tool_call_id"), "c2");
  EXPECT_EQ(request.chat.messages[4].extra.at("name"), "g");
  const JsonArray items = ParseJson(request.input)->as_array();
  EXPECT_EQ(items.size(), 9u);
  EXPECT_EQ(items[3].at("id"), "msg_1");
  EXPECT_EQ(items[4].at("id"), "item_resp_1_4");
}

TEST(ResponsesRequestTest, GoesOnFromEarlierItems) {
  const ResponsesRequest request =
      Taken(R"("previous_response_id":"r0","input":[{"type":"function_call_output","call_id":"c","output":"5"}])",
            R"([{"type":"message","role":"user","content":[{"type":"input_text","text":"How many?"}]},
                {"type":"function_call","call_id":"c","name":"count","arguments":"{}"}])");
  EXPECT_THAT(Messages(request), ElementsAre("user: How many?", "assistant: ", "tool: 5"));
  EXPECT_EQ(request.previous_response_id, "r0");
  EXPECT_EQ(ParseJson(request.input)->as_array().size(), 1u);
  EXPECT_EQ(Refused(R"("previous_response_id":"gone","input":"x")"), "previous_response_id");
}

TEST(ResponsesRequestTest, ReadsTools) {
  const std::string tools =
      R"("input":"x","tools":[{"type":"function","name":"f","description":"d","parameters":{"type":"object"},"strict":true},
                              {"type":"function","name":"g"}])";
  ResponsesRequest request = Taken(tools);
  EXPECT_EQ(JsonValue(request.chat.tools),
            *ParseJson(R"([{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},
                            "strict":true}},{"type":"function","function":{"name":"g"}}])"));
  EXPECT_EQ(request.chat.tool_choice.kind, ToolChoice::Kind::kAuto);
  request = Taken(tools + R"(,"tool_choice":{"type":"function","name":"g"},"parallel_tool_calls":false)");
  EXPECT_EQ(request.chat.tool_choice.kind, ToolChoice::Kind::kRequired);
  EXPECT_THAT(request.chat.tool_choice.names, ElementsAre("g"));
  EXPECT_FALSE(request.chat.parallel_tool_calls);
  request = Taken(tools +
                  R"(,"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]})");
  EXPECT_EQ(request.chat.tool_choice.kind, ToolChoice::Kind::kAuto);
  EXPECT_THAT(request.chat.tool_choice.names, ElementsAre("f"));
  EXPECT_THAT(Taken(tools + R"(,"tool_choice":"none")").chat.tools, IsEmpty());
  EXPECT_EQ(Taken(tools + R"(,"tool_choice":"required")").chat.tool_choice.kind, ToolChoice::Kind::kRequired);
}

TEST(ResponsesRequestTest, ReadsTheForm) {
  const auto form = [](std::string_view format) {
    return Taken(fmt::format(R"("input":"x","text":{{"format":{}}})", format)).chat.options.form;
  };
  EXPECT_EQ(form(R"({"type":"text"})").kind, OutputForm::Kind::kText);
  EXPECT_EQ(form(R"({"type":"json_object"})").kind, OutputForm::Kind::kJsonObject);
  const OutputForm schema = form(R"({"type":"json_schema","name":"n","schema":{"type":"object"},"strict":true})");
  EXPECT_EQ(schema.kind, OutputForm::Kind::kJsonSchema);
  EXPECT_EQ(schema.source, R"({"type":"object"})");
  EXPECT_EQ(schema.param, "text.format.schema");
  EXPECT_EQ(Taken(R"("input":"x","regex":"a+")").chat.options.form.kind, OutputForm::Kind::kRegex);
}

TEST(ResponsesRequestTest, ReadsOptions) {
  const ResponsesRequest request =
      Taken(R"("input":"x","max_output_tokens":7,"temperature":0.5,"top_p":0.25,"seed":3,"stop":"z","stream":true,
               "stream_options":{"include_obfuscation":false},"include":["message.output_text.logprobs",
               "reasoning.encrypted_content"],"top_logprobs":2,"reasoning":{"effort":"none","summary":"auto"},
               "store":false,"prompt_cache_retention":"24h","service_tier":"flex","unknown":{})");
  const RequestOptions& options = request.chat.options;
  EXPECT_EQ(options.max_tokens, 7);
  EXPECT_FLOAT_EQ(options.sampling.temperature, 0.5f);
  EXPECT_EQ(options.sampling.seed, 3u);
  EXPECT_THAT(options.stop, ElementsAre("z"));
  EXPECT_TRUE(options.stream);
  EXPECT_EQ(options.num_logprobs, 2);
  EXPECT_EQ(request.chat.template_arguments.at("reasoning_effort"), "none");
  EXPECT_EQ(request.chat.template_arguments.at("enable_thinking"), false);
  EXPECT_EQ(request.reasoning, ReasoningForm::kSummary);
  EXPECT_FALSE(request.store);
}

TEST(ResponsesRequestTest, EchoesTheRequest) {
  const ResponsesRequest request = Taken(R"("input":"x","instructions":"A","metadata":{"k":"v"},"user":"me",
      "temperature":0.7,"tools":[{"type":"function","name":"f"}],"text":{"format":{"type":"json_object"}})");
  const JsonValue echo = *ParseJson("{" + request.echo + "}");
  EXPECT_EQ(echo, *ParseJson(R"({"background":false,"instructions":"A","max_output_tokens":null,"max_tool_calls":null,
      "metadata":{"k":"v"},"parallel_tool_calls":true,"previous_response_id":null,"user":"me",
      "reasoning":{"effort":null,"summary":null},"service_tier":"default","store":true,"temperature":0.7,
      "text":{"format":{"type":"json_object"},"verbosity":"medium"},"tool_choice":"auto",
      "tools":[{"type":"function","name":"f","description":null,"parameters":null,"strict":false}],
      "top_logprobs":0,"top_p":1.0,"truncation":"disabled"})"));
}

TEST(ResponsesRequestTest, RefusalsNameTheField) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {R"("store":true)", "input"},
      {R"("input":5)", "input"},
      {R"("input":[])", "input"},
      {R"("input":["x"])", "input[0]"},
      {R"("input":[{"type":"reasoning","summary":[]}])", "input"},
      {R"("input":[{"role":"tool","content":"x"}])", "input[0].role"},
      {R"("input":[{"role":"user"}])", "input[0].content"},
      {R"("input":[{"content":"x"}])", "input[0].type"},
      {R"("input":[{"type":"item_reference","id":"x"}])", "input[0].type"},
      {R"("input":[{"role":"user","content":[{"type":"input_image","image_url":"data:"}]}])",
       "input[0].content[0].type"},
      {R"("input":[{"role":"user","content":[{"type":"input_text"}]}])", "input[0].content[0].text"},
      {R"("input":[{"type":"function_call","name":"f","arguments":"{}"}])", "input[0].call_id"},
      {R"("input":[{"type":"function_call_output","call_id":"c","output":"x"}])", "input[0].call_id"},
      {R"("input":"x","tools":[{"type":"web_search"}])", "tools[0].type"},
      {R"("input":"x","tools":[{"type":"function","name":"a b"}])", "tools[0].name"},
      {R"("input":"x","tools":[{"type":"function","name":"f"},{"type":"function","name":"f"}])", "tools[1].name"},
      {R"("input":"x","tool_choice":"required")", "tool_choice"},
      {R"("input":"x","tool_choice":"sometimes")", "tool_choice"},
      {R"("input":"x","tool_choice":{"type":"file_search"})", "tool_choice.type"},
      {R"("input":"x","tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"function","name":"g"})",
       "tool_choice.name"},
      {R"("input":"x","text":{"format":{"type":"xml"}})", "text.format.type"},
      {R"("input":"x","text":{"format":{"type":"json_schema"}})", "text.format.schema"},
      {R"("input":"x","text":{"format":{"type":"json_object"}},"regex":"a")", "text.format"},
      {R"("input":"x","text":{"verbosity":"low"})", "text.verbosity"},
      {R"("input":"x","reasoning":{"effort":"much"})", "reasoning.effort"},
      {R"("input":"x","reasoning":{"summary":"long"})", "reasoning.summary"},
      {R"("input":"x","include":["thoughts"])", "include[0]"},
      {R"("input":"x","metadata":{"a":1})", "metadata"},
      {R"("input":"x","background":true,"store":false)", "background"},
      {R"("input":"x","background":true,"stream":true)", "stream"},
      {R"("input":"x","stream_options":{})", "stream_options"},
      {R"("input":"x","instructions":["x"])", "instructions"},
  };
  for (const auto& [body, param] : cases) EXPECT_EQ(Refused(body), param) << body;
  EXPECT_FALSE(Parse("[]"));
  EXPECT_EQ(Parse(R"({"input":"x"})").error().param, "model");
}

}  // namespace
}  // namespace lem::openai
