// Reads a request of Anthropic's Messages API. Pure functions.
//
// System blocks, tool_use and tool_result blocks become the messages that chat templates know. Fields that are not
// known are tolerated, as are beta features that ask for nothing in the answer; what would change the answer and cannot
// be done is refused by name.
#pragma once

#include "api/request_error.h"
#include "api/text_request.h"

namespace lem::anthropic {

struct MessageRequest {
  ChatRequest chat;
  // The client wants to see the model's reasoning, and its text.
  bool thinking = false;
  bool show_thinking = false;
};

ParseResult<MessageRequest> ParseMessageRequest(const JsonValue& body);
// The body of count_tokens, which needs no max_tokens.
ParseResult<MessageRequest> ParseCountTokensRequest(const JsonValue& body);

}  // namespace lem::anthropic
