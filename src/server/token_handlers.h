// POST /tokenize and /detokenize, with and without /v1 in front.
#pragma once

#include "http/router.h"
#include "server/handler_context.h"

namespace lem {

// Thread-safe. The context must outlive it.
class TokenHandlers {
 public:
  explicit TokenHandlers(const HandlerContext& context) : context_(context) {}
  // The handlers refer to this object, which must outlive the router.
  void AddRoutes(http::Router& router);

 private:
  ParseResult<std::string> Tokenize(std::string_view body) const;
  ParseResult<std::string> Detokenize(std::string_view body) const;

  const HandlerContext& context_;
};

}  // namespace lem
