// What a client of any dialect asks a text model for, before templates and tokenisers: the result of every dialect's
// parser. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "request/request.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lem {

// The form that an answer must have.
struct OutputForm {
  enum class Kind { kText, kJsonObject, kJsonSchema, kRegex, kGbnf, kLark, kChoice };
  Kind kind = Kind::kText;  // kText: none
  std::string source;       // the schema's JSON, the pattern, the grammar
  std::vector<std::string> choices;
  std::string param;  // what asked for it, for errors: "response_format"
};

// What a model may do with the tools of a request.
struct ToolChoice {
  enum class Kind { kAuto, kRequired };
  Kind kind = Kind::kAuto;
  std::vector<std::string> names;  // of the tools that may be called; empty = all
};

struct RequestOptions {
  std::string model;
  SamplingParams sampling;
  int32_t max_tokens = -1;  // -1 = until the context is full
  std::vector<std::string> stop;
  int32_t num_choices = 1;         // answers to each prompt
  int32_t num_logprobs = -1;       // as GenerateRequest has it
  bool ignore_end_tokens = false;  // as GenerateRequest has it
  std::string cache_salt;          // the same
  bool stream = false;
  bool include_usage = false;  // in a stream
  OutputForm form;
};

struct ChatRequest {
  RequestOptions options;
  std::vector<ChatMessage> messages;
  JsonArray tools;  // schemas as the template sees them; each has a function with a name
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;
  JsonObject template_arguments;  // further variables of the template
  std::string answer_prefix;      // text that the answer goes on from; not part of it
};

// Text, or the token ids themselves.
using Prompt = std::variant<std::string, std::vector<TokenId>>;

struct CompletionRequest {
  RequestOptions options;
  std::vector<Prompt> prompts;                            // at least one
  int32_t best_of = 1;                                    // answers made to each prompt; the likeliest are given
  bool echo = false;                                      // the answer begins with the prompt
  SpecialTokens special_tokens = SpecialTokens::kAsText;  // in prompts that are text
  std::string suffix;  // of one prompt: what comes after the answer; empty = nothing is filled in
};

}  // namespace lem
