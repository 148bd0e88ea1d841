#include "api/openai/parameters.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/check.h"

namespace lem::openai {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();
constexpr int64_t kMinInt64 = std::numeric_limits<int64_t>::min();
constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();

enum class On { kBoth, kChat, kCompletions };

struct Row {
  On on;
  Parameter parameter;
};

constexpr Row kParameters[] = {
    {On::kBoth, {"temperature", NumberRange{0, 2}}},
    {On::kBoth, {"top_p", NumberRange{0, 1}}},
    {On::kBoth, {"top_k", IntegerRange{-1, kMaxInt32}}},  // -1 and 0: all
    {On::kBoth, {"min_p", NumberRange{0, 1}}},
    {On::kBoth, {"typical_p", NumberRange{0, 1}}},
    {On::kBoth, {"repetition_penalty", NumberRange{0.01, 100}}},
    {On::kBoth, {"repeat_penalty", NumberRange{0.01, 100}}},  // another name of it
    {On::kBoth, {"repeat_last_n", IntegerRange{-1, kMaxInt32}}},
    {On::kBoth, {"frequency_penalty", NumberRange{-2, 2}}},
    {On::kBoth, {"presence_penalty", NumberRange{-2, 2}}},
    {On::kBoth, {"logit_bias", NumberRange{-100, 100}}},
    {On::kBoth, {"seed", IntegerRange{kMinInt64, kMaxInt64}}},
    {On::kBoth, {"n", IntegerRange{1, 128}}},
    {On::kBoth, {"stream", AnyBoolean{}}},
    {On::kBoth, {"ignore_eos", AnyBoolean{}}},
    {On::kChat, {"max_tokens", IntegerRange{1, kMaxInt32}}},
    {On::kChat, {"max_completion_tokens", IntegerRange{1, kMaxInt32}}},
    {On::kChat, {"logprobs", AnyBoolean{}}},
    {On::kChat, {"top_logprobs", IntegerRange{0, 20}}},
    {On::kChat, {"parallel_tool_calls", AnyBoolean{}}},
    {On::kCompletions, {"max_tokens", IntegerRange{0, kMaxInt32}}},  // 0: only the prompt is evaluated
    {On::kCompletions, {"logprobs", IntegerRange{0, 20}}},
    {On::kCompletions, {"best_of", IntegerRange{1, 128}}},
    {On::kCompletions, {"echo", AnyBoolean{}}},
    {On::kCompletions, {"parse_special", AnyBoolean{}}},
};

struct UnsupportedRow {
  On on;
  UnsupportedParameter parameter;
};

constexpr UnsupportedRow kUnsupported[] = {
    {On::kChat, {"modalities", "[\"text\"]", "answers are text"}},
    {On::kChat, {"audio", "", "answers are text"}},
    {On::kChat, {"functions", "[]", "use tools"}},
    {On::kChat, {"function_call", "\"none\"", "use tools and tool_choice"}},
    {On::kChat, {"web_search_options", "", "this server does not search the web"}},
    {On::kChat, {"verbosity", "\"medium\"", "ask for the length in the messages"}},
};

bool IsOn(On on, Endpoint endpoint) { return on == On::kBoth || (on == On::kChat) == (endpoint == Endpoint::kChat); }

template <typename Element, typename Table>
std::vector<Element> Select(const Table& table, Endpoint endpoint) {
  std::vector<Element> selected;
  for (const auto& row : table) {
    if (IsOn(row.on, endpoint)) selected.push_back(row.parameter);
  }
  return selected;
}

}  // namespace

std::span<const Parameter> ParametersOf(Endpoint endpoint) {
  static const std::vector<Parameter> chat = Select<Parameter>(kParameters, Endpoint::kChat);
  static const std::vector<Parameter> completions = Select<Parameter>(kParameters, Endpoint::kCompletions);
  return endpoint == Endpoint::kChat ? chat : completions;
}

std::span<const UnsupportedParameter> UnsupportedParametersOf(Endpoint endpoint) {
  static const auto chat = Select<UnsupportedParameter>(kUnsupported, Endpoint::kChat);
  static const auto completions = Select<UnsupportedParameter>(kUnsupported, Endpoint::kCompletions);
  return endpoint == Endpoint::kChat ? chat : completions;
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
