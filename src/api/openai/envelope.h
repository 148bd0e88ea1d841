// What OpenAI's answers share: ids, the fields around the choices, usage, log probabilities, errors.
#pragma once

#include <string>
#include <string_view>

#include "api/answer_writer.h"
#include "base/json.h"

namespace lem::openai {

// The fields that are the same in every message of one answer.
struct Envelope {
  std::string id;  // "chatcmpl-..."
  int64_t created_unix_s = 0;
  std::string model;
  std::string system_fingerprint;  // changes when answers to the same request may
};

// {"error":{"message","type","param","code"}}, always with all four.
std::string WriteError(const WireError& error);

// Opens an object of this kind and writes everything before "choices".
void BeginObject(const Envelope& envelope, std::string_view object, JsonWriter& writer);
void WriteUsage(const Usage& usage, JsonWriter& writer);
// A log probability: what has none is null, and what is impossible -9999, as OpenAI has it.
void WriteLogprob(float logprob, JsonWriter& writer);
// "stop", "length" or "tool_calls".
std::string_view FinishReasonName(const ChoiceEnd& end);

}  // namespace lem::openai
