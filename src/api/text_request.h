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

struct RequestOptions {
  std::string model;
  SamplingParams sampling;
  int32_t max_tokens = -1;  // -1 = until the context is full
  std::vector<std::string> stop;
  int32_t num_choices = 1;         // answers to each prompt
  int32_t num_logprobs = -1;       // as GenerateRequest has it
  bool ignore_end_tokens = false;  // as GenerateRequest has it
  bool stream = false;
  bool include_usage = false;  // in a stream
};

struct ChatRequest {
  RequestOptions options;
  std::vector<ChatMessage> messages;
  JsonArray tools;                // schemas, for the template
  JsonObject template_arguments;  // further variables of the template
};

// Text, or the token ids themselves.
using Prompt = std::variant<std::string, std::vector<TokenId>>;

struct CompletionRequest {
  RequestOptions options;
  std::vector<Prompt> prompts;                            // at least one
  bool echo = false;                                      // the answer begins with the prompt
  SpecialTokens special_tokens = SpecialTokens::kAsText;  // in prompts that are text
};

}  // namespace lem
