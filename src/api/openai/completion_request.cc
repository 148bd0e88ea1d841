#include "api/openai/completion_request.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/openai/prompts.h"
#include "api/openai/shared_options.h"

namespace lem::openai {
namespace {

// As OpenAI documents it.
constexpr int32_t kDefaultMaxTokens = 16;

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
  request.prompts = ReadPrompts(fields, "prompt");
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
