// The parameters of OpenAI's chat completions, completions and responses, and of the extensions that other servers
// have: what each may be, in one table. Immutable.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "api/json_fields.h"

namespace lem::openai {

enum class Endpoint { kChat, kCompletions, kResponses };
inline constexpr size_t kNumEndpoints = 3;

// Limits on counts and sizes that are not one value's range.
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxStopBytes = 1024;    // of one stop string
inline constexpr size_t kMaxLogitBias = 2048;    // tokens
inline constexpr size_t kMaxTotalChoices = 512;  // prompts times n: each is a sequence of its own

// All values with a range, by name; of logit_bias, that of each bias.
std::span<const Parameter> ParametersOf(Endpoint endpoint);

// Known parameters that change the answer and are not supported yet. They are refused, never dropped.
struct UnsupportedParameter {
  std::string_view name;
  std::string_view accepted_json;  // the one value besides null that asks for nothing special; empty = none
  std::string_view advice;         // what to do
};
std::span<const UnsupportedParameter> UnsupportedParametersOf(Endpoint endpoint);

// JsonFields that takes each range from the table. REQUIRES: the name is in the table, with that type.
class ParameterFields : public JsonFields {
 public:
  ParameterFields(Endpoint endpoint, const JsonObject& object, FirstError& error)
      : JsonFields(object, "", error), endpoint_(endpoint) {}

  std::optional<int64_t> Integer(std::string_view name);
  std::optional<double> Number(std::string_view name);
  std::optional<bool> Boolean(std::string_view name);

  Endpoint endpoint() const { return endpoint_; }

 private:
  Endpoint endpoint_;
};

const Parameter& FindParameter(Endpoint endpoint, std::string_view name);

}  // namespace lem::openai
