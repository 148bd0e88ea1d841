#include "api/anthropic/message_content.h"

#include <fmt/format.h>

#include <map>
#include <utility>

namespace lem::anthropic {
namespace {

constexpr std::string_view kContentForm = "a string, or an array of content blocks";

// Claude Code puts a block with a number that changes at the front of the system prompt. It says nothing to a model,
// and would make every prompt differ from the one before it in its first tokens.
constexpr std::string_view kBillingHeader = "x-anthropic-billing-header:";

std::string_view ViewOf(const boost::json::string& text) { return {text.data(), text.size()}; }

void AppendLine(std::string& text, std::string_view more) {
  if (!text.empty() && !more.empty()) text += '\n';
  text += more;
}

class ConversationReader {
 public:
  ConversationReader(JsonFields& fields, ChatRequest& chat) : fields_(fields), error_(fields.error()), chat_(chat) {}

  void Read() {
    ReadSystem();
    const JsonArray* messages = fields_.Array("messages");
    if (messages == nullptr) return fields_.FailMissing("messages", "an array of at least one message");
    if (messages->empty()) {
      return fields_.Fail("messages", "empty_array", "messages is empty; at least one message is needed");
    }
    for (size_t i = 0; i < messages->size() && error_.ok(); ++i) ReadMessage((*messages)[i], i);
    if (error_.ok()) TakePrefill(messages->size() - 1);
  }

 private:
  // What the blocks of one message are made of.
  struct Parts {
    std::string text;
    std::string thinking;
    JsonArray calls;
  };

  void ReadSystem() {
    const JsonValue* system = fields_.Find("system");
    if (system == nullptr) return;
    std::string text;
    if (const auto* whole = system->if_string()) {
      text = ViewOf(*whole);
    } else if (const auto* blocks = system->if_array()) {
      for (size_t i = 0; i < blocks->size(); ++i) {
        const std::string block = ReadTextBlock((*blocks)[i], fmt::format("system[{}]", i));
        if (!block.starts_with(kBillingHeader)) AppendLine(text, block);
      }
    } else {
      fields_.FailType("system", *system, "a string, or an array of text blocks");
    }
    if (!text.empty()) Add("system", std::move(text));
  }

  void ReadMessage(const JsonValue& value, size_t idx) {
    const std::string path = fmt::format("messages[{}]", idx);
    const auto* object = value.if_object();
    if (object == nullptr) return FailBlock(value, path, "an object with role and content");
    JsonFields fields(*object, path, error_);
    constexpr std::string_view kRoles = "\"user\", \"assistant\" or \"system\"";
    const auto role = fields.String("role");
    if (!role) return fields.FailMissing("role", kRoles);
    if (*role != "user" && *role != "assistant" && *role != "system") {
      return fields.FailValue("role", *fields.Find("role"), kRoles);
    }
    const JsonValue* content = fields.Find("content");
    if (content == nullptr) return fields.FailMissing("content", kContentForm);
    if (const auto* text = content->if_string()) return Add(*role, std::string(ViewOf(*text)));
    const auto* blocks = content->if_array();
    if (blocks == nullptr) return fields.FailType("content", *content, kContentForm);
    Parts parts;
    for (size_t i = 0; i < blocks->size() && error_.ok(); ++i) {
      ReadBlock((*blocks)[i], fmt::format("{}.content[{}]", path, i), *role, parts);
    }
    // A message that held nothing but results is told by them already.
    if (parts.text.empty() && parts.calls.empty() && *role == "user" && !blocks->empty()) return;
    Add(*role, std::move(parts.text));
    JsonObject& extra = chat_.messages.back().extra;
    if (!parts.calls.empty()) extra["tool_calls"] = std::move(parts.calls);
    if (!parts.thinking.empty()) extra["reasoning_content"] = parts.thinking;
  }

  void ReadBlock(const JsonValue& value, const std::string& path, std::string_view role, Parts& parts) {
    const auto* object = value.if_object();
    if (object == nullptr) return FailBlock(value, path, "a content block: an object with type");
    JsonFields block(*object, path, error_);
    const auto type = block.String("type").value_or("");
    if (type == "text") return AppendLine(parts.text, ReadTextBlock(value, path));
    if (type == "tool_result" && role == "user") return ReadToolResult(block);
    if (type == "tool_use" && role == "assistant") return ReadToolUse(block, parts);
    if (type == "thinking" && role == "assistant") {
      parts.thinking += block.String("thinking").value_or("");
      return;
    }
    // Nobody but its maker can read it.
    if (type == "redacted_thinking" && role == "assistant") return;
    FailType(block, role == "user" ? "\"text\" or \"tool_result\"" : "\"text\", \"tool_use\" or \"thinking\"");
  }

  void ReadToolUse(JsonFields& block, Parts& parts) {
    const auto id = block.String("id");
    const auto name = block.String("name");
    const JsonObject* input = block.Object("input");
    if (!id) return block.FailMissing("id", "the id of the call");
    if (!name) return block.FailMissing("name", "the name of a tool");
    tool_names_[std::string(*id)] = *name;
    JsonObject function;
    function["name"] = *name;
    function["arguments"] = input == nullptr ? JsonObject() : *input;
    parts.calls.push_back(JsonObject{{"id", *id}, {"type", "function"}, {"function", std::move(function)}});
  }

  void ReadToolResult(JsonFields& block) {
    const auto id = block.String("tool_use_id");
    if (!id) return block.FailMissing("tool_use_id", "the id of the call that it answers");
    std::string text;
    const JsonValue* content = block.Find("content");
    if (content != nullptr && content->is_string()) {
      text = ViewOf(content->get_string());
    } else if (content != nullptr && content->is_array()) {
      const JsonArray& blocks = content->get_array();
      for (size_t i = 0; i < blocks.size(); ++i) {
        AppendLine(text, ReadTextBlock(blocks[i], fmt::format("{}[{}]", block.PathOf("content"), i)));
      }
    } else if (content != nullptr) {
      block.FailType("content", *content, kContentForm);
    }
    // Templates have no field for it.
    if (block.Boolean("is_error").value_or(false)) text = "Error: " + text;
    Add("tool", std::move(text));
    JsonObject& extra = chat_.messages.back().extra;
    extra["tool_call_id"] = *id;
    const auto name = tool_names_.find(std::string(*id));
    if (name != tool_names_.end()) extra["name"] = name->second;
  }

  std::string ReadTextBlock(const JsonValue& value, const std::string& path) {
    const auto* object = value.if_object();
    if (object == nullptr) {
      FailBlock(value, path, "a text block");
      return {};
    }
    JsonFields block(*object, path, error_);
    if (block.String("type").value_or("") != "text") {
      FailType(block, "\"text\"");
      return {};
    }
    const auto text = block.String("text");
    if (!text) block.FailMissing("text", "a string");
    return std::string(text.value_or(""));
  }

  static void FailType(JsonFields& block, std::string_view allowed) {
    const JsonValue* type = block.Find("type");
    if (type == nullptr) return block.FailMissing("type", allowed);
    const bool is_media = *type == "image" || *type == "document";
    block.Fail("type", "unsupported_value",
               fmt::format("{} is {}; {}allowed here: {}", block.PathOf("type"), JsonExcerpt(*type),
                           is_media ? "this server reads text only; " : "", allowed));
  }

  void FailBlock(const JsonValue& value, const std::string& path, std::string_view allowed) {
    error_.Set({InvalidArgument("{} is {}; allowed: {}", path, JsonExcerpt(value), allowed), path, "invalid_type"});
  }

  void Add(std::string_view role, std::string text) {
    chat_.messages.push_back({std::string(role), std::move(text), {}});
  }

  // What stands in an assistant's last message is where the answer goes on.
  void TakePrefill(size_t last_idx) {
    ChatMessage& last = chat_.messages.back();
    if (last.role != "assistant" || !last.extra.empty()) return;
    if (last.content.find_last_not_of(" \t\r\n") + 1 != last.content.size()) {
      return fields_.Fail(
          fmt::format("messages[{}].content", last_idx), "invalid_value",
          fmt::format("messages[{}].content: the last message is the assistant's and ends with white space; "
                      "take it off",
                      last_idx));
    }
    chat_.answer_prefix = std::move(last.content);
    chat_.messages.pop_back();
    if (chat_.messages.empty()) {
      fields_.Fail("messages", "invalid_value",
                   "messages has only an assistant's message; a user's is needed before it");
    }
  }

  JsonFields& fields_;
  FirstError& error_;
  ChatRequest& chat_;
  std::map<std::string, std::string, std::less<>> tool_names_;  // by id of the call
};

}  // namespace

void ReadConversation(JsonFields& fields, ChatRequest& chat) { ConversationReader(fields, chat).Read(); }

}  // namespace lem::anthropic
