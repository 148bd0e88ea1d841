// What the handlers of all dialects share: the service, the loop that answers run on, and the first steps of reading a
// request.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "api/model_summary.h"
#include "api/request_error.h"
#include "base/json.h"
#include "http/message.h"
#include "runtime/inference_service.h"
#include "server/answer_loop.h"
#include "server/generation_setup.h"
#include "server/metrics.h"
#include "server/output_grammar.h"
#include "server/served_answer.h"

namespace lem {

// Thread-safe as its members are; they must outlive it.
struct HandlerContext {
  InferenceService& service;
  AnswerLoop& loop;
  Metrics& metrics;
  GrammarCache& grammars;
  std::chrono::milliseconds request_timeout{0};  // from a request's header to the end of its answer; 0 = no limit
  bool offline = false;                          // no connection to other machines
  AnswerObserver on_answer;                      // may be empty

  GenerationContext ForRequest(const http::Request& request) const;
  // Lets the answer run; the sink gets it.
  void Answer(AnswerSetup setup, std::unique_ptr<AnswerSink> sink, const ErrorDialect& dialect,
              const http::Request& request) const;
};

// The body, parsed and checked, as a Request of the dialect.
template <typename Request>
ParseResult<Request> ParseBody(std::string_view body, ParseResult<Request> (*parse)(const JsonValue&)) {
  const Result<JsonValue> json = ParseJson(body);
  if (!json.ok()) return tl::unexpected(RequestError{json.status(), "", "invalid_json"});
  return parse(*json);
}

int64_t NowUnixSeconds();

// The prefix and 29 letters and digits: "chatcmpl-...". Unique, not secret.
std::string MakeId(std::string_view prefix);

ModelSummary Summarise(const ModelInfo& model);

}  // namespace lem
