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
  request.echo = fields.Boolean("echo").value_or(false);
  request.best_of = static_cast<int32_t>(fields.Integer("best_of").value_or(options.num_choices));
  if (request.best_of < options.num_choices) {
    fields.Fail("best_of", "invalid_value",
                fmt::format("best_of is {} and n is {}; allowed: at least n", request.best_of, options.num_choices));
  } else if (request.best_of > options.num_choices && (options.stream || request.echo)) {
    fields.Fail("best_of", "unsupported_value",
                fmt::format("best_of is {} and n is {}; more than n is allowed without {}: which answers are best is "
                            "known at their end",
                            request.best_of, options.num_choices, options.stream ? "stream" : "echo"));
  }
  if (fields.Boolean("parse_special").value_or(false)) request.special_tokens = SpecialTokens::kParse;
  request.prompts = ReadPrompts(fields, "prompt");
  if (const auto suffix = fields.String("suffix")) request.suffix = *suffix;
  if (!request.suffix.empty() && (request.prompts.size() != 1 || request.echo)) {
    fields.Fail("suffix", "unsupported_value", "suffix is given; it is allowed with one prompt and without echo");
  }
  const size_t num_choices = request.prompts.size() * static_cast<size_t>(request.best_of);
  if (num_choices > kMaxTotalChoices) {
    fields.Fail("prompt", "array_above_max_length",
                fmt::format("prompt has {} prompts and n or best_of is {}, which makes {} choices; allowed: at most {}",
                            request.prompts.size(), request.best_of, num_choices, kMaxTotalChoices));
  }
  if (!error.ok()) return tl::unexpected(error.Take());
  return request;
}

}  // namespace lem::openai
