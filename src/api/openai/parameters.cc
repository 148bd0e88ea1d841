#include "api/openai/parameters.h"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "base/check.h"

namespace lem::openai {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();
constexpr int64_t kMinInt64 = std::numeric_limits<int64_t>::min();
constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();

// The endpoints that a parameter is for, one bit each.
using On = unsigned;
constexpr On kChat = 1U << static_cast<unsigned>(Endpoint::kChat);
constexpr On kCompletions = 1U << static_cast<unsigned>(Endpoint::kCompletions);
constexpr On kResponses = 1U << static_cast<unsigned>(Endpoint::kResponses);
constexpr On kBoth = kChat | kCompletions;
constexpr On kAll = kBoth | kResponses;

struct Row {
  On on;
  Parameter parameter;
};

constexpr Row kParameters[] = {
    {kAll, {"temperature", NumberRange{0, 2}}},
    {kAll, {"top_p", NumberRange{0, 1}}},
    {kAll, {"top_k", IntegerRange{-1, kMaxInt32}}},  // -1 and 0: all
    {kAll, {"min_p", NumberRange{0, 1}}},
    {kAll, {"typical_p", NumberRange{0, 1}}},
    {kAll, {"repetition_penalty", NumberRange{0.01, 100}}},
    {kAll, {"repeat_penalty", NumberRange{0.01, 100}}},  // another name of it
    {kAll, {"repeat_last_n", IntegerRange{-1, kMaxInt32}}},
    {kAll, {"frequency_penalty", NumberRange{-2, 2}}},
    {kAll, {"presence_penalty", NumberRange{-2, 2}}},
    {kAll, {"logit_bias", NumberRange{-100, 100}}},
    {kAll, {"seed", IntegerRange{kMinInt64, kMaxInt64}}},
    {kBoth, {"n", IntegerRange{1, 128}}},
    {kAll, {"stream", AnyBoolean{}}},
    {kAll, {"ignore_eos", AnyBoolean{}}},
    {kChat, {"max_tokens", IntegerRange{1, kMaxInt32}}},
    {kChat, {"max_completion_tokens", IntegerRange{1, kMaxInt32}}},
    {kChat, {"logprobs", AnyBoolean{}}},
    {kChat | kResponses, {"top_logprobs", IntegerRange{0, 20}}},
    {kChat | kResponses, {"parallel_tool_calls", AnyBoolean{}}},
    {kCompletions, {"max_tokens", IntegerRange{0, kMaxInt32}}},  // 0: only the prompt is evaluated
    {kCompletions, {"logprobs", IntegerRange{0, 20}}},
    {kCompletions, {"best_of", IntegerRange{1, 128}}},
    {kCompletions, {"echo", AnyBoolean{}}},
    {kCompletions, {"parse_special", AnyBoolean{}}},
    {kResponses, {"max_output_tokens", IntegerRange{1, kMaxInt32}}},
    {kResponses,
     {"max_tool_calls", IntegerRange{1, kMaxInt32}}},  // counts tools that run on the server: there are none
    {kResponses, {"store", AnyBoolean{}}},
    {kResponses, {"background", AnyBoolean{}}},
};

struct UnsupportedRow {
  On on;
  UnsupportedParameter parameter;
};

constexpr UnsupportedRow kUnsupported[] = {
    {kChat, {"modalities", "[\"text\"]", "answers are text"}},
    {kChat, {"audio", "", "answers are text"}},
    {kChat, {"functions", "[]", "use tools"}},
    {kChat, {"function_call", "\"none\"", "use tools and tool_choice"}},
    {kChat, {"web_search_options", "", "this server does not search the web"}},
    {kChat, {"verbosity", "\"medium\"", "ask for the length in the messages"}},
    {kResponses, {"conversation", "", "use previous_response_id"}},
    {kResponses, {"prompt", "", "prompts are not kept here: send instructions and input"}},
    {kResponses, {"context_management", "[]", "what does not fit the context is refused"}},
    {kChat | kResponses, {"moderation", "", "this server has no model for it"}},
    {kResponses, {"truncation", "\"disabled\"", "what does not fit the context is refused"}},
    // Chat completions' names of what has another one here.
    {kResponses, {"messages", "", "use input"}},
    {kResponses, {"max_tokens", "", "use max_output_tokens"}},
    {kResponses, {"max_completion_tokens", "", "use max_output_tokens"}},
    {kResponses, {"response_format", "", "use text.format"}},
    {kResponses, {"reasoning_effort", "", "use reasoning.effort"}},
    {kResponses, {"logprobs", "false", "use include with \"message.output_text.logprobs\""}},
    {kResponses, {"n", "1", "there is one answer to a request"}},
};

template <typename Element, typename Table>
std::array<std::vector<Element>, kNumEndpoints> Select(const Table& table) {
  std::array<std::vector<Element>, kNumEndpoints> selected;
  for (const auto& row : table) {
    for (size_t endpoint = 0; endpoint < kNumEndpoints; ++endpoint) {
      if ((row.on >> endpoint & 1U) != 0) selected[endpoint].push_back(row.parameter);
    }
  }
  return selected;
}

}  // namespace

std::span<const Parameter> ParametersOf(Endpoint endpoint) {
  static const auto selected = Select<Parameter>(kParameters);
  return selected[static_cast<size_t>(endpoint)];
}

std::span<const UnsupportedParameter> UnsupportedParametersOf(Endpoint endpoint) {
  static const auto selected = Select<UnsupportedParameter>(kUnsupported);
  return selected[static_cast<size_t>(endpoint)];
}

const Parameter& FindParameter(Endpoint endpoint, std::string_view name) {
  const std::span<const Parameter> table = ParametersOf(endpoint);
  const auto found = std::ranges::find(table, name, &Parameter::name);
  LEM_CHECK(found != table.end()) << "no parameter " << std::string(name);
  return *found;
}

std::optional<int64_t> ParameterFields::Integer(std::string_view name) {
  return JsonFields::Integer(name, std::get<IntegerRange>(FindParameter(endpoint_, name).allowed));
}
std::optional<double> ParameterFields::Number(std::string_view name) {
  return JsonFields::Number(name, std::get<NumberRange>(FindParameter(endpoint_, name).allowed));
}
std::optional<bool> ParameterFields::Boolean(std::string_view name) {
  LEM_CHECK(std::holds_alternative<AnyBoolean>(FindParameter(endpoint_, name).allowed)) << std::string(name);
  return JsonFields::Boolean(name);
}

}  // namespace lem::openai
