#include "api/openai/response_items.h"

#include <fmt/format.h>

#include <utility>

namespace lem::openai {
namespace {

constexpr std::string_view kItemTypes = R"("message", "function_call", "function_call_output" or "reasoning")";
constexpr std::string_view kRoles = "user, system, developer or assistant";
constexpr std::string_view kContentForm = "a string, or an array of text parts";

std::string_view ViewOf(const boost::json::string& text) { return {text.data(), text.size()}; }

// An array of parts {"type", "text"}, joined by line breaks. `types`: those that are text here.
std::string ReadParts(const JsonArray& parts, const std::string& path, std::initializer_list<std::string_view> types,
                      FirstError& error) {
  std::string text;
  for (size_t i = 0; i < parts.size() && error.ok(); ++i) {
    const std::string part_path = fmt::format("{}[{}]", path, i);
    const auto* object = parts[i].if_object();
    if (object == nullptr) {
      error.Set({InvalidArgument("{} is {}; allowed: an object with type and text", part_path, JsonExcerpt(parts[i])),
                 part_path, "invalid_type"});
      return {};
    }
    JsonFields part(*object, part_path, error);
    const auto type = part.String("type");
    const bool is_known = type && std::ranges::find(types, *type) != types.end();
    if (!is_known) {
      const JsonValue* found = part.Find("type");
      const std::string allowed = fmt::format("\"{}\"", *types.begin());
      if (found == nullptr) {
        part.FailMissing("type", allowed);
      } else {
        part.Fail("type", "unsupported_value",
                  fmt::format("{} is {}; this server reads text only: allowed here is {}", part.PathOf("type"),
                              JsonExcerpt(*found), allowed));
      }
      return {};
    }
    const std::string_view key = *type == "refusal" ? "refusal" : "text";
    const auto piece = part.String(key);
    if (!piece) part.FailMissing(key, "a string");
    if (i > 0) text += '\n';
    text += piece.value_or("");
  }
  return text;
}

JsonArray OneTextPart(std::string_view type, std::string_view text) {
  JsonObject part{{"type", type}, {"text", text}};
  if (type == "output_text") part["annotations"] = JsonArray();
  return {std::move(part)};
}

// Arguments as templates want them: the object that their text spells.
JsonValue ArgumentsOf(std::string_view text) {
  auto parsed = ParseJson(text);
  if (parsed.ok() && parsed->is_object()) return *std::move(parsed);
  return JsonValue(text);
}

}  // namespace

void ItemReader::AddInstructions(std::string_view text) {
  if (!text.empty()) Append("system", std::string(text));
}

JsonValue ItemReader::Add(const JsonValue& item, const std::string& path, std::string_view id) {
  const auto* object = item.if_object();
  if (object == nullptr) {
    error_.Set({InvalidArgument("{} is {}; allowed: an item, which is an object", path, JsonExcerpt(item)), path,
                "invalid_type"});
    return {};
  }
  JsonFields fields(*object, path, error_);
  JsonObject normal = *object;
  if (!fields.String("id")) normal["id"] = id;
  const auto type = fields.String("type").value_or(object->contains("role") ? "message" : "");
  normal["type"] = type;
  if (type != "reasoning" && fields.Find("status") == nullptr) normal["status"] = "completed";
  if (type == "message") {
    AddMessage(fields, normal);
  } else if (type == "function_call") {
    AddCall(fields, normal);
  } else if (type == "function_call_output") {
    AddCallOutput(fields, normal);
  } else if (type == "reasoning") {
    AddReasoning(fields);
    if (!normal.contains("summary")) normal["summary"] = JsonArray();
  } else if (type.empty()) {
    fields.FailMissing("type", kItemTypes);
  } else {
    fields.Fail("type", "unsupported_value",
                fmt::format("{} is {}; this server has no such items: allowed are {}", fields.PathOf("type"),
                            JsonExcerpt(JsonValue(type)), kItemTypes));
  }
  return normal;
}

void ItemReader::AddMessage(JsonFields& item, JsonObject& normal) {
  const auto role = item.String("role");
  if (!role) return item.FailMissing("role", kRoles);
  const bool is_assistant = *role == "assistant";
  if (*role != "user" && *role != "system" && *role != "developer" && !is_assistant) {
    return item.FailValue("role", *item.Find("role"), kRoles);
  }
  const JsonValue* content = item.Find("content");
  std::string text;
  if (content == nullptr) {
    return item.FailMissing("content", kContentForm);
  } else if (const auto* string = content->if_string()) {
    text = ViewOf(*string);
    normal["content"] = OneTextPart(is_assistant ? "output_text" : "input_text", text);
  } else if (const auto* parts = content->if_array()) {
    text = is_assistant
               ? ReadParts(*parts, item.PathOf("content"), {"output_text", "text", "input_text", "refusal"}, error_)
               : ReadParts(*parts, item.PathOf("content"), {"input_text", "text", "output_text"}, error_);
  } else {
    return item.FailType("content", *content, kContentForm);
  }
  Append(*role == "developer" ? "system" : *role, std::move(text));
}

void ItemReader::AddCall(JsonFields& item, JsonObject& normal) {
  const auto call_id = item.String("call_id");
  const auto name = item.String("name");
  const auto arguments = item.String("arguments");
  if (!call_id) return item.FailMissing("call_id", "the id of the call");
  if (!name) return item.FailMissing("name", "the name of a function");
  if (!arguments) return item.FailMissing("arguments", "the JSON text of an object");
  normal["status"] = "completed";
  call_names_[std::string(*call_id)] = *name;
  // Calls belong to the message that they followed, or to one without text.
  const bool has_message = !messages_.empty() && messages_.back().role == "assistant" && reasoning_.empty();
  ChatMessage& message = has_message ? messages_.back() : Append("assistant", "");
  JsonValue& calls = message.extra["tool_calls"];
  if (!calls.is_array()) calls = JsonArray();
  calls.get_array().push_back(
      JsonObject{{"id", *call_id},
                 {"type", "function"},
                 {"function", JsonObject{{"name", *name}, {"arguments", ArgumentsOf(*arguments)}}}});
}

void ItemReader::AddCallOutput(JsonFields& item, JsonObject& normal) {
  const auto call_id = item.String("call_id");
  if (!call_id) return item.FailMissing("call_id", "the id of the call that it answers");
  const auto name = call_names_.find(*call_id);
  if (name == call_names_.end()) {
    return item.FailValue("call_id", *item.Find("call_id"), "the call_id of a function_call before it");
  }
  const JsonValue* output = item.Find("output");
  std::string text;
  if (output == nullptr) {
    return item.FailMissing("output", kContentForm);
  } else if (const auto* string = output->if_string()) {
    text = ViewOf(*string);
  } else if (const auto* parts = output->if_array()) {
    text = ReadParts(*parts, item.PathOf("output"), {"input_text", "output_text", "text"}, error_);
  } else {
    return item.FailType("output", *output, kContentForm);
  }
  normal["status"] = "completed";
  ChatMessage& message = Append("tool", std::move(text));
  message.extra["tool_call_id"] = *call_id;
  message.extra["name"] = name->second;
}

void ItemReader::AddReasoning(JsonFields& item) {
  // The text itself, if there is one; what only its maker can read (encrypted_content) is nothing to a template.
  for (const std::string_view key : {"content", "summary"}) {
    const JsonArray* parts = item.Array(key);
    if (parts == nullptr || parts->empty()) continue;
    const std::string text = ReadParts(*parts, item.PathOf(key), {"reasoning_text", "summary_text", "text"}, error_);
    if (!reasoning_.empty()) reasoning_ += '\n';
    reasoning_ += text;
    return;
  }
}

ChatMessage& ItemReader::Append(std::string_view role, std::string content) {
  // Instructions and the first messages of the developer are one system message: most templates know only one.
  if (role == "system" && messages_.size() == 1 && messages_[0].role == "system") {
    messages_[0].content += "\n\n" + content;
    return messages_[0];
  }
  ChatMessage& message = messages_.emplace_back(ChatMessage{std::string(role), std::move(content), {}});
  if (role == "assistant" && !reasoning_.empty()) message.extra["reasoning_content"] = std::exchange(reasoning_, {});
  if (role == "user") reasoning_.clear();
  return message;
}

std::vector<ChatMessage> ItemReader::TakeMessages() { return std::move(messages_); }

}  // namespace lem::openai
