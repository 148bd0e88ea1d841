#include "text/tool_calls/generic_tools.h"

#include <utility>

namespace lem {
namespace {

std::string DescribeTools(const JsonArray& tools) {
  std::string text =
      "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function "
      "signatures within <tools></tools> XML tags:\n<tools>";
  for (const JsonValue& tool : tools) {
    JsonWriter writer;
    writer.Value(tool);
    text += "\n" + writer.text();
  }
  text +=
      "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
      "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
      "<args-json-object>}\n</tool_call>";
  return text;
}

std::string WriteCall(const JsonValue& call) {
  const JsonObject* object = call.if_object();
  const JsonValue* function = object == nullptr ? nullptr : object->if_contains("function");
  if (function == nullptr || !function->is_object()) return {};
  const JsonValue* name = function->get_object().if_contains("name");
  const JsonValue* arguments = function->get_object().if_contains("arguments");
  JsonWriter writer;
  writer.BeginObject().Key("name");
  writer.Value(name == nullptr ? JsonValue("") : *name);
  writer.Key("arguments");
  writer.Value(arguments == nullptr ? JsonValue(JsonObject()) : *arguments);
  writer.EndObject();
  return "<tool_call>\n" + writer.text() + "\n</tool_call>";
}

void WriteCallsAsText(ChatMessage& message) {
  const JsonValue* calls = message.extra.if_contains("tool_calls");
  if (calls == nullptr || !calls->is_array()) return;
  for (const JsonValue& call : calls->get_array()) {
    if (!message.content.empty()) message.content += '\n';
    message.content += WriteCall(call);
  }
  message.extra.erase("tool_calls");
}

}  // namespace

std::vector<ChatMessage> WithGenericTools(std::vector<ChatMessage> messages, const JsonArray& tools,
                                          ChatTemplate::ToolSupport support) {
  // A template that just prints whatever role there is does not mean a model that knows it.
  if (!support.tools) support = {};
  std::vector<ChatMessage> out;
  bool after_result = false;
  for (ChatMessage& message : messages) {
    if (message.role == "assistant" && !support.calls) WriteCallsAsText(message);
    const bool is_result = message.role == "tool" && !support.results;
    if (is_result) {
      // Results of one turn are one message: many templates want roles to alternate.
      std::string text = "<tool_response>\n" + message.content + "\n</tool_response>";
      if (after_result) {
        out.back().content += "\n" + text;
        continue;
      }
      message = {"user", std::move(text), {}};
    }
    after_result = is_result;
    out.push_back(std::move(message));
  }
  if (tools.empty() || support.tools) return out;
  if (out.empty() || out.front().role != "system") {
    out.insert(out.begin(), ChatMessage{"system", DescribeTools(tools), {}});
  } else {
    std::string& system = out.front().content;
    system += (system.empty() ? "" : "\n\n") + DescribeTools(tools);
  }
  return out;
}

}  // namespace lem
