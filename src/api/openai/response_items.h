// The items that a conversation of OpenAI's responses is made of: messages, calls of functions and what they gave,
// reasoning. Not thread-safe.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/json_fields.h"
#include "base/json.h"
#include "text/chat_template.h"

namespace lem::openai {

// Reads items one after the other into the messages that templates see, in which calls belong to an assistant's
// message. Errors go to `error`, which must outlive this object.
class ItemReader {
 public:
  explicit ItemReader(FirstError& error) : error_(error) {}

  // Goes before everything else; empty = nothing.
  void AddInstructions(std::string_view text);
  // Returns the item as it is told to clients who ask for it later: with a type, `id` if it has none, and content as an
  // array of parts. `path` is for errors: "input[3]".
  JsonValue Add(const JsonValue& item, const std::string& path, std::string_view id);

  std::vector<ChatMessage> TakeMessages();

 private:
  void AddMessage(JsonFields& item, JsonObject& normal);
  void AddCall(JsonFields& item, JsonObject& normal);
  void AddCallOutput(JsonFields& item, JsonObject& normal);
  void AddReasoning(JsonFields& item);
  ChatMessage& Append(std::string_view role, std::string content);

  FirstError& error_;
  std::vector<ChatMessage> messages_;
  std::map<std::string, std::string, std::less<>> call_names_;  // by call_id
  std::string reasoning_;                                       // of the assistant's message that comes next
};

}  // namespace lem::openai
