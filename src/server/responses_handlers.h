// The routes of OpenAI's responses, each with and without /v1 in front.
#pragma once

#include <memory>
#include <string>

#include "http/router.h"
#include "server/handler_context.h"
#include "server/response_store.h"

namespace lem {

// Thread-safe. The context must outlive it.
class ResponsesHandlers {
 public:
  explicit ResponsesHandlers(const HandlerContext& context)
      : context_(context), store_(std::make_shared<ResponseStore>()) {}

  // The handlers refer to this object, which must outlive the router.
  void AddRoutes(http::Router& router);

 private:
  struct Wanted;

  void HandleCreate(const http::Request& request, const http::Responder& responder) const;
  ParseResult<Wanted> Read(const http::Request& request) const;
  void RunInBackground(const http::Request& request, const http::Responder& responder, Wanted wanted,
                       AnswerSetup setup) const;
  http::Response HandleCountTokens(const http::Request& request) const;
  http::Response HandleGet(const http::Request& request) const;
  http::Response HandleDelete(const http::Request& request) const;
  http::Response HandleCancel(const http::Request& request) const;
  http::Response HandleInputItems(const http::Request& request) const;

  const HandlerContext& context_;
  const std::shared_ptr<ResponseStore> store_;  // shared with the answers under way, which write into it
};

}  // namespace lem
