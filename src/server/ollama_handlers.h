// The routes of Ollama's own API, /api/... .
#pragma once

#include <memory>

#include "api/ollama/models.h"
#include "api/ollama/request.h"
#include "api/ollama/response.h"
#include "http/router.h"
#include "server/handler_context.h"
#include "server/model_library.h"
#include "server/pull_jobs.h"

namespace lem {

// Thread-safe. References must outlive it.
class OllamaHandlers {
 public:
  OllamaHandlers(const HandlerContext& context, const ModelLibrary& library);

  // The handlers refer to this object, which must outlive the router.
  void AddRoutes(http::Router& router);

 private:
  using Parse = ParseResult<ollama::Request> (*)(const JsonValue&);
  void HandleAnswer(const http::Request& request, const http::Responder& responder, ollama::Answer answer,
                    Parse parse) const;
  ParseResult<AnswerSetup> SetUp(const http::Request& request, ollama::Answer answer, const ModelInfo& model,
                                 ollama::Request wanted) const;
  http::Response Unload(const std::string& id, ollama::Answer answer, const std::string& name) const;
  using ParseEmbed = ParseResult<ollama::EmbedRequest> (*)(const JsonValue&);
  void HandleEmbed(const http::Request& request, const http::Responder& responder, ParseEmbed parse) const;
  http::Response HandleShow(const http::Request& request) const;
  http::Response HandleDelete(const http::Request& request) const;
  void HandlePull(const http::Request& request, const http::Responder& responder);

  static ollama::Model Describe(const ModelLibrary::Entry& entry);

  const HandlerContext& context_;
  const ModelLibrary& library_;
  std::unique_ptr<PullJobs> pulls_;  // null without a store
};

}  // namespace lem
