#include "api/openai/completion_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "api/openai/shared_options.h"

namespace lem::openai {
namespace {

// As OpenAI documents it.
constexpr int32_t kDefaultMaxTokens = 16;

constexpr std::string_view kPromptForms =
    "a string, an array of strings, an array of token ids, or an array of arrays of token ids";

Prompt ReadTokens(const JsonArray& ids, const std::string& path, FirstError& error) {
  std::vector<TokenId> tokens;
  tokens.reserve(ids.size());
  for (size_t i = 0; i < ids.size() && error.ok(); ++i) {
    constexpr IntegerRange kRange{0, std::numeric_limits<TokenId>::max()};
    tokens.push_back(
        static_cast<TokenId>(ReadInteger(ids[i], kRange, fmt::format("{}[{}]", path, i), error).value_or(0)));
  }
  return tokens;
}

std::vector<Prompt> ReadPrompts(ParameterFields& fields) {
  const JsonValue* value = fields.Find("prompt");
  if (value == nullptr) {
    fields.FailMissing("prompt", kPromptForms);
    return {};
  }
  if (const auto* text = value->if_string()) return {Prompt(std::string(text->data(), text->size()))};
  const auto* list = value->if_array();
  if (list == nullptr) {
    fields.FailType("prompt", *value, kPromptForms);
    return {};
  }
  if (list->empty()) {
    fields.Fail("prompt", "empty_array", "prompt is an empty array; at least one token or string is needed");
    return {};
  }
  if (list->front().is_number()) return {ReadTokens(*list, "prompt", fields.error())};
  std::vector<Prompt> prompts;
  for (size_t i = 0; i < list->size() && fields.error().ok(); ++i) {
    const JsonValue& item = (*list)[i];
    const std::string path = fmt::format("prompt[{}]", i);
    if (item.kind() != list->front().kind() || (!item.is_string() && !item.is_array())) {
      fields.Fail(path, "invalid_type", fmt::format("{} is {}; a prompt is {}", path, JsonExcerpt(item), kPromptForms));
    } else if (const auto* text = item.if_string()) {
      prompts.emplace_back(std::string(text->data(), text->size()));
    } else {
      prompts.push_back(ReadTokens(item.get_array(), path, fields.error()));
    }
  }
  return prompts;
}

}  // namespace

ParseResult<CompletionRequest> ParseCompletionRequest(const JsonValue& body) {
  if (!body.is_object()) {
    return tl::unexpected(
        RequestError{InvalidArgument("the body is {}; allowed: an object with model and prompt", JsonKindName(body)),
                     "", "invalid_type"});
  }
  FirstError error;
  ParameterFields fields(Endpoint::kCompletions, body.get_object(), error);
  CompletionRequest request;
  RequestOptions& options = request.options = ReadSharedOptions(fields);
  if (options.max_tokens < 0) options.max_tokens = kDefaultMaxTokens;
  if (const auto logprobs = fields.Integer("logprobs")) options.num_logprobs = static_cast<int32_t>(*logprobs);
  const auto best_of = fields.Integer("best_of");
  if (best_of && *best_of != options.num_choices) {
    fields.Fail("best_of", "unsupported_value",
                fmt::format("best_of is {} and n is {}; allowed: the same number, for every choice is returned",
                            *best_of, options.num_choices));
  }
  request.echo = fields.Boolean("echo").value_or(false);
  if (fields.Boolean("parse_special").value_or(false)) request.special_tokens = SpecialTokens::kParse;
  request.prompts = ReadPrompts(fields);
  if (const auto suffix = fields.String("suffix")) request.suffix = *suffix;
  if (!request.suffix.empty() && (request.prompts.size() != 1 || request.echo)) {
    fields.Fail("suffix", "unsupported_value", "suffix is given; it is allowed with one prompt and without echo");
  }
  const size_t num_choices = request.prompts.size() * static_cast<size_t>(options.num_choices);
  if (num_choices > kMaxTotalChoices) {
    fields.Fail("prompt", "array_above_max_length",
                fmt::format("prompt has {} prompts and n is {}, which makes {} choices; allowed: at most {}",
                            request.prompts.size(), options.num_choices, num_choices, kMaxTotalChoices));
  }
  if (!error.ok()) return tl::unexpected(error.Take());
  return request;
}

}  // namespace lem::openai
