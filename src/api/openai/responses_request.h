// The body of POST /v1/responses. Stateless, so thread-safe.
#pragma once

#include <functional>
#include <string>

#include "api/request_error.h"
#include "api/text_request.h"

namespace lem::openai {

// How a model's reasoning is shown: as what it is, or, to those who ask for a summary, in the place of one.
enum class ReasoningForm { kText, kSummary };

struct ResponsesRequest {
  ChatRequest chat;
  std::string previous_response_id;  // empty = none
  bool store = true;
  bool background = false;
  ReasoningForm reasoning = ReasoningForm::kText;
  std::string input;  // the request's own items as a JSON array: each with id, type, and content as parts
  std::string echo;   // what every form of the response repeats of the request: members of a JSON object, no braces
};

// All items that the response with this id was made from, and those it made.
using EarlierItems = std::function<ParseResult<JsonArray>(const std::string& response_id)>;

// `id` is that of the response to be made. Fields that are in neither OpenAI's documentation nor ours are ignored.
// Errors: InvalidArgument with param and code; those of `earlier`.
ParseResult<ResponsesRequest> ParseResponsesRequest(const JsonValue& body, std::string_view id,
                                                    const EarlierItems& earlier);

}  // namespace lem::openai
