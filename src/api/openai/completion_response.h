// The answers of POST /v1/completions: one text_completion, or a stream of them.
#pragma once

#include <memory>

#include "api/openai/envelope.h"
#include "api/text_request.h"

namespace lem::openai {

// As a stream if options.stream. num_choices: of all prompts together; `options` says what else to write.
std::unique_ptr<AnswerWriter> MakeCompletionWriter(Envelope envelope, const RequestOptions& options,
                                                   int32_t num_choices);

}  // namespace lem::openai
