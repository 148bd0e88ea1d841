// The answers of POST /v1/completions: one text_completion, or a stream of them.
#pragma once

#include <memory>

#include "api/openai/envelope.h"
#include "api/text_request.h"

namespace lem::openai {

// As a stream if options.stream. num_choices: of all prompts together, best_of to each; of these the
// options.num_choices with the highest mean log probability are written, for which their tokens must come with them if
// there are more.
std::unique_ptr<AnswerWriter> MakeCompletionWriter(Envelope envelope, const RequestOptions& options,
                                                   int32_t num_choices, int32_t best_of);

}  // namespace lem::openai
