// The answers of POST /v1/responses and of its neighbours: a response object, or the events of a stream that builds
// one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/answer_writer.h"
#include "api/openai/responses_request.h"
#include "base/json.h"

namespace lem::openai {

// What is the same in every form of one response.
struct ResponseFrame {
  std::string id;  // "resp_..."
  int64_t created_unix_s = 0;
  std::string model;
  std::string echo;  // ResponsesRequest::echo
};

// A response that is over and did not fail.
struct FinishedResponse {
  std::string body;    // the response object
  std::string output;  // its items, a JSON array
};
// Called once, before the last message is given out.
using ResponseObserver = std::function<void(const FinishedResponse& response)>;

struct ResponseOptions {
  bool stream = false;
  bool with_logprobs = false;
  ReasoningForm reasoning = ReasoningForm::kText;
};

// `now`: seconds since 1970, for the time of completion.
std::unique_ptr<AnswerWriter> MakeResponsesWriter(ResponseFrame frame, ResponseOptions options, int64_t (*now)(),
                                                  ResponseObserver observer);

// A response without output: "queued", "in_progress", "cancelled", or "failed" with its error.
std::string WriteResponse(const ResponseFrame& frame, std::string_view status, const WireError* error = nullptr);

std::string WriteDeletedResponse(std::string_view id);
std::string WriteInputTokens(int64_t num_tokens);

struct ItemListQuery {
  size_t limit = 20;
  bool newest_first = true;
  std::string after;  // id of an item; empty = from the beginning
};
// A page of items. nullopt: there is no item `after`.
std::optional<std::string> WriteItemList(const JsonArray& items, const ItemListQuery& query);

}  // namespace lem::openai
