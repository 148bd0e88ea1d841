#include "api/anthropic/message_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "api/anthropic/message_content.h"
#include "api/json_fields.h"
#include "api/tool_name.h"

namespace lem::anthropic {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();
// As many as other dialects may have, and more than any client sends.
constexpr size_t kMaxStopSequences = 16;
constexpr size_t kMaxStopBytes = 1024;
constexpr int64_t kMinThinkingBudget = 1024;  // the API's own

// Fields that ask for something outside of a model; their absence would show in the answer.
struct Unsupported {
  std::string_view name, advice;
};
constexpr std::array<Unsupported, 2> kUnsupported = {{
    {"mcp_servers", "this server calls no other ones: give their tools in tools"},
    {"container", "this server runs no code"},
}};

void ReadSampling(JsonFields& fields, RequestOptions& options) {
  SamplingParams& sampling = options.sampling;
  if (const auto value = fields.Number("temperature", {0, 1})) sampling.temperature = static_cast<float>(*value);
  if (const auto value = fields.Number("top_p", {0, 1})) sampling.top_p = static_cast<float>(*value);
  if (const auto value = fields.Integer("top_k", {0, kMaxInt32})) sampling.top_k = static_cast<int32_t>(*value);
  const JsonArray* stops = fields.Array("stop_sequences");
  if (stops == nullptr) return;
  if (stops->size() > kMaxStopSequences) {
    return fields.Fail(
        "stop_sequences", "array_above_max_length",
        fmt::format("stop_sequences has {} strings; allowed: at most {}", stops->size(), kMaxStopSequences));
  }
  for (size_t i = 0; i < stops->size(); ++i) {
    const std::string path = fmt::format("stop_sequences[{}]", i);
    const auto* text = (*stops)[i].if_string();
    if (text == nullptr || text->empty() || text->size() > kMaxStopBytes) {
      return fields.Fail(
          path, "invalid_value",
          fmt::format("{} is {}; allowed: a string of 1 to {} bytes", path, JsonExcerpt((*stops)[i]), kMaxStopBytes));
    }
    options.stop.emplace_back(text->data(), text->size());
  }
}

void ReadThinking(JsonFields& fields, MessageRequest& request) {
  const JsonObject* thinking = fields.Object("thinking");
  if (thinking == nullptr) return;
  JsonFields nested(*thinking, "thinking", fields.error());
  constexpr std::string_view kTypes = "\"enabled\", \"adaptive\" or \"disabled\"";
  const auto type = nested.String("type");
  if (!type) return nested.FailMissing("type", kTypes);
  if (*type == "enabled") {
    const auto budget = nested.Integer("budget_tokens", {kMinThinkingBudget, kMaxInt32});
    if (nested.Find("budget_tokens") == nullptr) {
      nested.FailMissing("budget_tokens", fmt::format("a whole number from {}", kMinThinkingBudget));
    }
    const int32_t max_tokens = request.chat.options.max_tokens;
    if (budget && max_tokens >= 0 && *budget >= max_tokens) {
      nested.Fail(
          "budget_tokens", "invalid_value",
          fmt::format("thinking.budget_tokens is {}; allowed: less than max_tokens, which is {}", *budget, max_tokens));
    }
  } else if (*type != "adaptive" && *type != "disabled") {
    return nested.FailValue("type", *nested.Find("type"), kTypes);
  }
  request.thinking = *type != "disabled";
  request.show_thinking = request.thinking && nested.String("display").value_or("") != "omitted";
}

// A tool as templates see it.
std::optional<JsonObject> ReadTool(const JsonValue& value, const std::string& path, FirstError& error) {
  const auto* object = value.if_object();
  if (object == nullptr) {
    error.Set({InvalidArgument("{} is {}; allowed: an object with name and input_schema", path, JsonExcerpt(value)),
               path, "invalid_type"});
    return std::nullopt;
  }
  JsonFields fields(*object, path, error);
  const auto type = fields.String("type");
  if (type && *type != "custom") {
    fields.Fail("type", "unsupported_value",
                fmt::format("{} is {}; this server runs no tools itself: allowed is \"custom\"", fields.PathOf("type"),
                            JsonExcerpt(*fields.Find("type"))));
    return std::nullopt;
  }
  const auto name = fields.String("name");
  if (!name) {
    fields.FailMissing("name", kToolNameForm);
  } else if (!IsToolName(*name)) {
    fields.FailValue("name", *fields.Find("name"), kToolNameForm);
  }
  const JsonObject* schema = fields.Object("input_schema");
  if (schema == nullptr) fields.FailMissing("input_schema", "a JSON schema of an object");
  if (!error.ok()) return std::nullopt;
  JsonObject function;
  function["name"] = *name;
  if (const auto description = fields.String("description")) function["description"] = *description;
  function["parameters"] = *schema;
  return JsonObject{{"type", "function"}, {"function", std::move(function)}};
}

void ReadToolChoice(JsonFields& fields, const std::vector<std::string>& names, ChatRequest& chat) {
  const JsonObject* choice = fields.Object("tool_choice");
  if (choice == nullptr) return;
  JsonFields nested(*choice, "tool_choice", fields.error());
  constexpr std::string_view kTypes = "\"auto\", \"any\", \"tool\" or \"none\"";
  const auto type = nested.String("type");
  if (!type) return nested.FailMissing("type", kTypes);
  chat.parallel_tool_calls = !nested.Boolean("disable_parallel_tool_use").value_or(false);
  if (*type == "none") {
    chat.tools.clear();
  } else if (*type == "any" || *type == "tool") {
    chat.tool_choice.kind = ToolChoice::Kind::kRequired;
    if (names.empty()) {
      return nested.Fail(
          "type", "invalid_value",
          fmt::format("tool_choice.type is \"{}\" and there are no tools; give tools or leave it out", *type));
    }
    if (*type == "any") return;
    const auto name = nested.String("name");
    if (!name) return nested.FailMissing("name", "the name of a tool");
    if (std::ranges::find(names, *name) == names.end()) {
      return nested.FailValue("name", *nested.Find("name"), "the name of one of the tools");
    }
    chat.tool_choice.names.emplace_back(*name);
  } else if (*type != "auto") {
    nested.FailValue("type", *nested.Find("type"), kTypes);
  }
}

void ReadTools(JsonFields& fields, ChatRequest& chat) {
  std::vector<std::string> names;
  if (const JsonArray* tools = fields.Array("tools")) {
    if (tools->size() > kMaxTools) {
      return fields.Fail("tools", "array_above_max_length",
                         fmt::format("tools has {} tools; allowed: at most {}", tools->size(), kMaxTools));
    }
    for (size_t i = 0; i < tools->size() && fields.error().ok(); ++i) {
      const std::string path = fmt::format("tools[{}]", i);
      auto tool = ReadTool((*tools)[i], path, fields.error());
      if (!tool) return;
      const auto& name = tool->at("function").at("name").as_string();
      if (std::ranges::find(names, std::string_view(name.data(), name.size())) != names.end()) {
        return fields.Fail(path, "invalid_value",
                           fmt::format("two tools are named {}; each needs a name of its own", JsonExcerpt(name)));
      }
      names.emplace_back(name.data(), name.size());
      chat.tools.push_back(*std::move(tool));
    }
  }
  ReadToolChoice(fields, names, chat);
}

void ReadOutputConfig(JsonFields& fields, ChatRequest& chat) {
  const JsonObject* config = fields.Object("output_config");
  if (config == nullptr) return;
  JsonFields nested(*config, "output_config", fields.error());
  if (const auto effort = nested.String("effort")) chat.template_arguments["reasoning_effort"] = *effort;
  const JsonObject* format = nested.Object("format");
  if (format == nullptr) return;
  JsonFields form(*format, "output_config.format", fields.error());
  if (form.String("type").value_or("") != "json_schema") return form.FailMissing("type", "\"json_schema\"");
  const JsonObject* schema = form.Object("schema");
  if (schema == nullptr) return form.FailMissing("schema", "a JSON schema");
  JsonWriter writer;
  writer.Value(*schema);
  chat.options.form = {OutputForm::Kind::kJsonSchema, writer.Take(), {}, "output_config.format.schema"};
}

enum class Limit { kNeeded, kNone };

ParseResult<MessageRequest> Parse(const JsonValue& body, Limit limit) {
  if (!body.is_object()) {
    return tl::unexpected(RequestError{
        InvalidArgument("the body is {}; allowed: an object with model, max_tokens and messages", JsonKindName(body)),
        "", "invalid_type"});
  }
  FirstError error;
  JsonFields fields(body.get_object(), "", error);
  MessageRequest request;
  RequestOptions& options = request.chat.options;
  if (const auto model = fields.String("model")) {
    options.model = *model;
  } else {
    fields.FailMissing("model", "the id of a model; GET /v1/models lists them");
  }
  if (limit == Limit::kNeeded) {
    if (fields.Find("max_tokens") == nullptr) fields.FailMissing("max_tokens", "a whole number from 1");
    if (const auto max_tokens = fields.Integer("max_tokens", {1, kMaxInt32})) {
      options.max_tokens = static_cast<int32_t>(*max_tokens);
    }
  }
  options.stream = fields.Boolean("stream").value_or(false);
  ReadSampling(fields, options);
  ReadThinking(fields, request);
  ReadTools(fields, request.chat);
  ReadOutputConfig(fields, request.chat);
  ReadConversation(fields, request.chat);
  (void)fields.Object("metadata");
  for (const Unsupported& field : kUnsupported) {
    const JsonValue* value = fields.Find(field.name);
    if (value == nullptr || (value->is_array() && value->get_array().empty())) continue;
    fields.Fail(field.name, "unsupported_parameter", fmt::format("{} is not supported: {}", field.name, field.advice));
  }
  // Models that can do both go by this variable of their templates; the others do not look at it.
  request.chat.template_arguments["enable_thinking"] = request.thinking;
  if (!error.ok()) return tl::unexpected(error.Take());
  return request;
}

}  // namespace

ParseResult<MessageRequest> ParseMessageRequest(const JsonValue& body) { return Parse(body, Limit::kNeeded); }
ParseResult<MessageRequest> ParseCountTokensRequest(const JsonValue& body) { return Parse(body, Limit::kNone); }

}  // namespace lem::anthropic
