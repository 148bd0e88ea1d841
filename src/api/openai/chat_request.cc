#include "api/openai/chat_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "api/openai/shared_options.h"
#include "api/openai/tools.h"

namespace lem::openai {
namespace {

constexpr std::string_view kRoles = "system, developer, user, assistant or tool";

// Variables of a template that the server sets itself.
constexpr std::array<std::string_view, 5> kReservedTemplateVariables = {"messages", "tools", "add_generation_prompt",
                                                                        "bos_token", "eos_token"};

// Text of one element of a content array.
std::string ReadContentPart(const JsonValue& value, const std::string& path, FirstError& error) {
  const auto* object = value.if_object();
  if (object == nullptr) {
    error.Set({InvalidArgument("{} is {}; allowed: an object with type and text", path, JsonExcerpt(value)), path,
               "invalid_type"});
    return {};
  }
  JsonFields part(*object, path, error);
  const auto type = part.String("type");
  if (!type) {
    part.FailMissing("type", "\"text\"");
  } else if (*type == "text" || *type == "refusal") {
    if (const auto text = part.String(*type)) return std::string(*text);
    part.FailMissing(*type, "a string");
  } else {
    part.Fail("type", "unsupported_value",
              fmt::format("{} is {}; this server reads text only: allowed is \"text\"", part.PathOf("type"),
                          JsonExcerpt(*part.Find("type"))));
  }
  return {};
}

// `optional`: an assistant's message may have none.
std::string ReadContent(JsonFields& message, bool optional) {
  constexpr std::string_view kAllowed = "a string, or an array of text parts";
  const JsonValue* value = message.Find("content");
  if (value == nullptr && optional) value = message.Find("refusal");  // what an assistant said instead
  if (value == nullptr) {
    if (!optional) message.FailMissing("content", kAllowed);
    return {};
  }
  if (const auto* text = value->if_string()) return {text->data(), text->size()};
  const auto* parts = value->if_array();
  if (parts == nullptr) {
    message.FailType("content", *value, kAllowed);
    return {};
  }
  std::string content;
  for (size_t i = 0; i < parts->size(); ++i) {
    if (i > 0) content += '\n';
    content += ReadContentPart((*parts)[i], fmt::format("{}[{}]", message.PathOf("content"), i), message.error());
  }
  return content;
}

// Calls as templates want them: the arguments, which the API has as text, as the object they spell.
JsonArray ReadToolCalls(const JsonArray& calls, JsonFields& message) {
  JsonArray out;
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string path = fmt::format("{}[{}]", message.PathOf("tool_calls"), i);
    const auto* object = calls[i].if_object();
    const auto* function = object == nullptr ? nullptr : object->if_contains("function");
    if (function == nullptr || !function->is_object()) {
      message.error().Set({InvalidArgument("{} has no function; allowed: {{\"id\", \"type\": \"function\", "
                                           "\"function\": {{\"name\", \"arguments\"}}}}",
                                           path),
                           path, "invalid_type"});
      return {};
    }
    JsonObject call = *object;
    JsonObject& call_function = call["function"].as_object();
    if (auto* arguments = call_function.if_contains("arguments"); arguments != nullptr && arguments->is_string()) {
      auto parsed = ParseJson(std::string_view(arguments->get_string().data(), arguments->get_string().size()));
      if (parsed.ok() && parsed->is_object()) *arguments = std::move(*parsed);
    }
    out.push_back(std::move(call));
  }
  return out;
}

ChatMessage ReadMessage(const JsonValue& value, size_t idx, FirstError& error) {
  const std::string path = fmt::format("messages[{}]", idx);
  const auto* object = value.if_object();
  if (object == nullptr) {
    error.Set({InvalidArgument("{} is {}; allowed: an object with role and content", path, JsonExcerpt(value)), path,
               "invalid_type"});
    return {};
  }
  JsonFields fields(*object, path, error);
  ChatMessage message;
  const auto role = fields.String("role");
  if (!role) {
    fields.FailMissing("role", kRoles);
    return {};
  }
  if (*role != "system" && *role != "developer" && *role != "user" && *role != "assistant" && *role != "tool") {
    fields.FailValue("role", *fields.Find("role"), kRoles);
    return {};
  }
  message.role = *role == "developer" ? "system" : std::string(*role);
  const bool is_assistant = message.role == "assistant";
  message.content = ReadContent(fields, is_assistant);
  for (const std::string_view name : {"audio", "function_call"}) {
    if (fields.Find(name) == nullptr) continue;
    fields.Fail(name, "unsupported_parameter",
                fmt::format("{} is not supported: {}", fields.PathOf(name),
                            name == "audio" ? "this server reads text only" : "use tool_calls"));
  }
  for (const std::string_view name : {"name", "tool_call_id", "reasoning_content"}) {
    if (const auto text = fields.String(name)) message.extra[{name.data(), name.size()}] = *text;
  }
  const JsonArray* tool_calls = fields.Array("tool_calls");
  if (is_assistant && tool_calls != nullptr && !tool_calls->empty()) {
    message.extra["tool_calls"] = ReadToolCalls(*tool_calls, fields);
  }
  return message;
}

void ReadMessages(ParameterFields& fields, ChatRequest& request) {
  const JsonArray* messages = fields.Array("messages");
  if (messages == nullptr) {
    fields.FailMissing("messages", "an array of at least one message");
    return;
  }
  if (messages->empty()) fields.Fail("messages", "empty_array", "messages is empty; at least one message is needed");
  for (size_t i = 0; i < messages->size() && fields.error().ok(); ++i) {
    request.messages.push_back(ReadMessage((*messages)[i], i, fields.error()));
  }
}

void ReadTemplateArguments(ParameterFields& fields, ChatRequest& request) {
  if (const JsonObject* arguments = fields.Object("chat_template_kwargs")) {
    for (const std::string_view reserved : kReservedTemplateVariables) {
      if (!arguments->contains({reserved.data(), reserved.size()})) continue;
      fields.Fail("chat_template_kwargs", "invalid_value",
                  fmt::format("chat_template_kwargs sets {}, which the server sets itself; leave it out", reserved));
    }
    request.template_arguments = *arguments;
  }
  ReadEffort(fields, "reasoning_effort", request.template_arguments);
}

void ReadLogprobs(ParameterFields& fields, RequestOptions& options) {
  const bool wanted = fields.Boolean("logprobs").value_or(false);
  const auto top = fields.Integer("top_logprobs");
  if (top && !wanted) {
    fields.Fail("top_logprobs", "invalid_value", "top_logprobs is given; it is allowed only with \"logprobs\": true");
  }
  if (wanted) options.num_logprobs = static_cast<int32_t>(top.value_or(0));
}

}  // namespace

ParseResult<ChatRequest> ParseChatRequest(const JsonValue& body) {
  if (!body.is_object()) {
    return tl::unexpected(
        RequestError{InvalidArgument("the body is {}; allowed: an object with model and messages", JsonKindName(body)),
                     "", "invalid_type"});
  }
  FirstError error;
  ParameterFields fields(Endpoint::kChat, body.get_object(), error);
  ChatRequest request;
  request.options = ReadSharedOptions(fields);
  if (const auto limit = fields.Integer("max_completion_tokens")) {
    request.options.max_tokens = static_cast<int32_t>(*limit);
  }
  ReadLogprobs(fields, request.options);
  ReadMessages(fields, request);
  ReadTools(fields, request);
  ReadTemplateArguments(fields, request);
  if (!error.ok()) return tl::unexpected(error.Take());
  return request;
}

}  // namespace lem::openai
