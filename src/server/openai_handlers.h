// The routes of OpenAI's dialect, each with and without /v1 in front.
#pragma once

#include "api/openai/envelope.h"
#include "http/router.h"
#include "server/anthropic_handlers.h"
#include "server/handler_context.h"
#include "server/responses_handlers.h"

namespace lem {

// `id_prefix` is "chatcmpl-" or the like.
openai::Envelope MakeEnvelope(std::string_view id_prefix, const ModelInfo& model);

// Thread-safe. References must outlive it.
class OpenAiHandlers {
 public:
  // `anthropic` answers what both dialects have, GET /v1/models, to its own clients.
  OpenAiHandlers(const HandlerContext& context, const AnthropicHandlers& anthropic)
      : context_(context), anthropic_(anthropic), responses_(context) {}

  // The handlers refer to this object, which must outlive the router.
  void AddRoutes(http::Router& router);

 private:
  void HandleChat(const http::Request& request, const http::Responder& responder) const;
  void HandleCompletion(const http::Request& request, const http::Responder& responder) const;
  void HandleEmbeddings(const http::Request& request, const http::Responder& responder) const;
  void HandleRerank(const http::Request& request, const http::Responder& responder) const;
  http::Response HandleModels(const http::Request& request) const;
  http::Response HandleModel(const http::Request& request) const;

  const HandlerContext& context_;
  const AnthropicHandlers& anthropic_;
  ResponsesHandlers responses_;
};

}  // namespace lem
