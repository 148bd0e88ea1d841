// How a model writes its tool calls and its reasoning: found from its chat template and vocabulary. Plain data.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lem {

enum class ToolFamily {
  kHermes,        // <tool_call>{"name", "arguments"}</tool_call>: Hermes, Qwen; asked for of models without a form
  kLlama3,        // the answer is {"name", "parameters"}, or it stands after <|python_tag|>
  kMistral,       // [TOOL_CALLS][{"name", "arguments"}, ...]
  kMistralNamed,  // [TOOL_CALLS]name[ARGS]{...}
  kDeepSeek,      // <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>...<｜tool▁sep｜>...
  kGemma,         // {"name", "parameters"}, or Python calls in a block of ```tool_code
  kPhi,           // <|tool_call|>[{"name", "arguments"}]<|/tool_call|>, or functools[...]
  kHarmony,       // channels: gpt-oss
};

std::string_view ToolFamilyName(ToolFamily family);

struct ReasoningTags {
  std::string open, close;  // empty = the model does not reason in tags
};

struct ToolFormat {
  ToolFamily family = ToolFamily::kHermes;
  ReasoningTags reasoning;
  bool deepseek_fences = false;  // arguments stand in ```json blocks, after "function": before V3.1
  // The template shows no tools: the model is asked to write calls as Hermes does.
  bool is_generic = false;
  // Control tokens whose names the parser must see in the text.
  std::vector<TokenId> visible_tokens;
  // Mistral's templates take ids of nine letters and digits and no others.
  bool short_call_ids = false;
};

ToolFormat DetectToolFormat(const ChatTemplate& chat_template, const Tokenizer& tokenizer);

// Texts of the control tokens that a family may use.
std::span<const std::string_view> MarkersOf(ToolFamily family);

}  // namespace lem
