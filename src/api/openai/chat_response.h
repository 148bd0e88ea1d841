// The answers of POST /v1/chat/completions: one chat.completion, or a stream of chat.completion.chunk.
#pragma once

#include <memory>

#include "api/openai/envelope.h"
#include "api/text_request.h"

namespace lem::openai {

// As a stream if options.stream. `options` says what else to write.
std::unique_ptr<AnswerWriter> MakeChatWriter(Envelope envelope, const RequestOptions& options);

}  // namespace lem::openai
