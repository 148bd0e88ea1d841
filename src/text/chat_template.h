// Renders chat messages into a prompt with the model's own Jinja template, or ChatML when the file has none.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace lem {

struct ChatMessage {
  std::string role;     // "system", "user", "assistant", "tool", ...
  std::string content;  // text parts already joined
  // Further members that a template may read (tool_calls, name, tool_call_id, reasoning_content), as JSON. A member
  // "content" takes the place of the text, so null can be told from "".
  JsonObject extra;
};

struct ChatTemplateInputs {
  std::vector<ChatMessage> messages;
  JsonArray tools;  // tool schemas as the client sent them; empty = none
  bool add_generation_prompt = true;
  std::string bos_token;
  std::string eos_token;
  JsonObject extra;         // chat_template_kwargs: enable_thinking, ...
  int64_t unix_time_s = 0;  // for strftime_now; 0 = now
};

// A piece of a rendered prompt. Text that came from the caller's messages is marked, so that the tokeniser never turns
// it into a control token.
struct RenderedSpan {
  std::string text;
  bool trusted = true;  // false: came from message content, name, tool data
};

// Some templates cannot take what a client may send. kProbe: what the template can take is found by rendering small
// conversations, and messages are put into that form: a system message, where there is no such role, goes before the
// text of the next user message; text becomes a list of parts; the arguments of calls become JSON text; the empty text
// beside calls becomes null. kNone: the template sees the messages as they are.
enum class Adaptation { kProbe, kNone };

class ChatTemplate {
 public:
  // Parses `source` (Jinja as Hugging Face tokenizers use it). Errors: InvalidArgument with line and reason.
  static Result<std::unique_ptr<ChatTemplate>> Create(std::string_view source,
                                                      Adaptation adaptation = Adaptation::kProbe);
  // <|im_start|>role\ncontent<|im_end|>\n for each message, then <|im_start|>assistant\n.
  static std::unique_ptr<ChatTemplate> ChatMl();

  virtual ~ChatTemplate() = default;
  // Errors: InvalidArgument (raise_exception in the template: its text; a wrong type), ResourceExhausted (a budget:
  // steps, memory, 8 MiB of output, depth, 200 ms of processor time). Thread-safe.
  virtual Result<std::string> Render(const ChatTemplateInputs& inputs) const = 0;
  // The same text in order, cut where caller's text begins and ends. Filters that change caller's text (trim, replace,
  // upper, tojson, slices) keep it untrusted.
  virtual Result<std::vector<RenderedSpan>> RenderSpans(const ChatTemplateInputs& inputs) const = 0;
  virtual bool is_fallback() const = 0;
  // The template's text.
  virtual std::string_view source() const = 0;
  // What of a conversation with tools the template shows; found by probing.
  struct ToolSupport {
    bool tools = false;    // their schemas
    bool calls = false;    // an assistant's calls
    bool results = false;  // messages of the role "tool"
    bool all() const { return tools && calls && results; }
  };
  virtual ToolSupport tool_support() const = 0;
  // Text that ends an answer besides the model's own end tokens: the fallback's end marker, which is ordinary text to a
  // model that was not trained with it.
  std::vector<std::string> end_markers() const {
    return is_fallback() ? std::vector<std::string>{"<|im_end|>"} : std::vector<std::string>{};
  }
};

}  // namespace lem
