// The routes of Anthropic's dialect, each with and without /v1 in front.
#pragma once

#include "http/router.h"
#include "server/handler_context.h"

namespace lem {

// Thread-safe. The context must outlive it.
class AnthropicHandlers {
 public:
  explicit AnthropicHandlers(const HandlerContext& context) : context_(context) {}

  // The handlers refer to this object, which must outlive the router.
  void AddRoutes(http::Router& router);

  // True for requests of Anthropic's clients on routes that OpenAI's dialect has too.
  static bool IsClient(const http::Request& request);
  http::Response HandleModels() const;
  http::Response HandleModel(const http::Request& request) const;

 private:
  void HandleMessage(const http::Request& request, const http::Responder& responder) const;
  http::Response HandleCountTokens(const http::Request& request) const;

  const HandlerContext& context_;
};

}  // namespace lem
