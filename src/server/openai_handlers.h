// The routes of OpenAI's dialect, each with and without /v1 in front.
#pragma once

#include <chrono>

#include "http/router.h"
#include "runtime/inference_service.h"
#include "server/answer_loop.h"
#include "server/metrics.h"
#include "server/output_grammar.h"

namespace lem {

// Thread-safe. References must outlive it.
class OpenAiHandlers {
 public:
  // request_timeout: from a request's header to the end of its answer; 0 = as long as it takes.
  OpenAiHandlers(InferenceService& service, AnswerLoop& loop, Metrics& metrics,
                 std::chrono::milliseconds request_timeout)
      : service_(service), loop_(loop), metrics_(metrics), request_timeout_(request_timeout) {}

  // The handlers refer to this object, which must outlive the router.
  void AddRoutes(http::Router& router);

 private:
  void HandleChat(const http::Request& request, const http::Responder& responder);
  void HandleCompletion(const http::Request& request, const http::Responder& responder);
  http::Response HandleModels() const;
  http::Response HandleModel(const http::Request& request) const;

  InferenceService& service_;
  AnswerLoop& loop_;
  Metrics& metrics_;
  const std::chrono::milliseconds request_timeout_;
  GrammarCache grammars_;
};

}  // namespace lem
