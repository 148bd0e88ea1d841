// The body of POST /v1/chat/completions. Stateless, so thread-safe.
#pragma once

#include "api/request_error.h"
#include "api/text_request.h"

namespace lem::openai {

// Fields that are in neither OpenAI's documentation nor ours are ignored. Errors: InvalidArgument with param and code.
ParseResult<ChatRequest> ParseChatRequest(const JsonValue& body);

}  // namespace lem::openai
