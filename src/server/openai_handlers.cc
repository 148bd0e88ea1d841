#include "server/openai_handlers.h"

#include <fmt/format.h>

#include <span>
#include <utility>

#include "api/openai/chat_request.h"
#include "api/openai/chat_response.h"
#include "api/openai/completion_request.h"
#include "api/openai/completion_response.h"
#include "api/openai/embeddings.h"
#include "api/openai/models.h"
#include "base/sha256.h"
#include "server/chat_socket.h"
#include "server/embedding_answer.h"
#include "server/error_mapping.h"
#include "server/served_answer.h"

namespace lem {

openai::Envelope MakeEnvelope(std::string_view id_prefix, const ModelInfo& model) {
  const std::string identity =
      fmt::format("{} {} {} {}", LEM_VERSION, model.path, model.size_bytes, model.created_unix_s);
  Sha256 hasher;
  hasher.Update(std::as_bytes(std::span(identity)));
  return {MakeId(id_prefix), NowUnixSeconds(), model.id, "fp_" + hasher.FinishHex().substr(0, 10)};
}

void OpenAiHandlers::AddRoutes(http::Router& router) {
  using http::Request;
  using http::Responder;
  responses_.AddRoutes(router);
  for (const std::string prefix : {"/v1", ""}) {
    router.Add("GET", prefix + "/models", [this](const Request& request) { return HandleModels(request); });
    router.Add("GET", prefix + "/models/{id*}", [this](const Request& request) { return HandleModel(request); });
    router.Add("POST", prefix + "/chat/completions",
               [this](const Request& request, const Responder& responder) { HandleChat(request, responder); });
    router.AddWebSocket(prefix + "/chat/completions/ws", MakeChatSocketHandler(context_));
    router.Add("POST", prefix + "/completions",
               [this](const Request& request, const Responder& responder) { HandleCompletion(request, responder); });
    router.Add("POST", prefix + "/embeddings",
               [this](const Request& request, const Responder& responder) { HandleEmbeddings(request, responder); });
    router.Add("POST", prefix + "/rerank",
               [this](const Request& request, const Responder& responder) { HandleRerank(request, responder); });
  }
}

void OpenAiHandlers::HandleChat(const http::Request& request, const http::Responder& responder) const {
  const auto set_up = [&]() -> ParseResult<AnswerSetup> {
    auto chat = ParseBody(request.body, openai::ParseChatRequest);
    if (!chat) return tl::unexpected(chat.error());
    auto model = FindReadyModel(context_.service, chat->options.model);
    if (!model) return tl::unexpected(model.error());
    const RequestOptions options = chat->options;
    auto setup = SetUpChat(context_.ForRequest(request), *model, *std::move(chat));
    if (setup) setup->writer = openai::MakeChatWriter(MakeEnvelope("chatcmpl-", *model), options);
    return setup;
  };
  auto setup = set_up();
  if (!setup) return responder.Send(ErrorResponse(setup.error(), kOpenAiErrors, request.request_id));
  context_.Answer(*std::move(setup), MakeHttpSink(responder, request.request_id), kOpenAiErrors, request);
}

void OpenAiHandlers::HandleCompletion(const http::Request& request, const http::Responder& responder) const {
  const auto set_up = [&]() -> ParseResult<AnswerSetup> {
    auto completion = ParseBody(request.body, openai::ParseCompletionRequest);
    if (!completion) return tl::unexpected(completion.error());
    auto model = FindReadyModel(context_.service, completion->options.model);
    if (!model) return tl::unexpected(model.error());
    auto setup = SetUpCompletion(context_.ForRequest(request), *model, *completion);
    if (setup) {
      setup->writer = openai::MakeCompletionWriter(MakeEnvelope("cmpl-", *model), completion->options,
                                                   static_cast<int32_t>(setup->choices.size()), completion->best_of);
    }
    return setup;
  };
  auto setup = set_up();
  if (!setup) return responder.Send(ErrorResponse(setup.error(), kOpenAiErrors, request.request_id));
  context_.Answer(*std::move(setup), MakeHttpSink(responder, request.request_id), kOpenAiErrors, request);
}

void OpenAiHandlers::HandleEmbeddings(const http::Request& request, const http::Responder& responder) const {
  const auto read = [&]() -> ParseResult<EmbeddingQuery> {
    auto wanted = ParseBody(request.body, openai::ParseEmbeddingsRequest);
    if (!wanted) return tl::unexpected(wanted.error());
    EmbeddingQuery query{.model = wanted->model,
                         .inputs = std::move(wanted->inputs),
                         .param = "input",
                         .pooling = wanted->pooling,
                         .dimensions = wanted->dimensions};
    query.write = [wanted = *std::move(wanted)](const std::string& model, const auto& vectors,
                                                int64_t prompt_tokens) mutable {
      wanted.model = model;
      return openai::WriteEmbeddings(wanted, vectors, prompt_tokens);
    };
    return query;
  };
  AnswerEmbeddings(context_, request, responder, read(), kOpenAiErrors);
}

void OpenAiHandlers::HandleRerank(const http::Request& request, const http::Responder& responder) const {
  const auto read = [&]() -> ParseResult<EmbeddingQuery> {
    auto wanted = ParseBody(request.body, openai::ParseRerankRequest);
    if (!wanted) return tl::unexpected(wanted.error());
    EmbeddingQuery query{.model = wanted->model, .inputs = {wanted->query}, .param = "query and documents"};
    for (const std::string& document : wanted->documents) query.inputs.emplace_back(document);
    query.write = [wanted = *std::move(wanted)](const std::string& model, const auto& vectors,
                                                int64_t prompt_tokens) mutable {
      wanted.model = model;
      return openai::WriteRerank(wanted, MakeId("rerank-"), vectors, prompt_tokens);
    };
    return query;
  };
  AnswerEmbeddings(context_, request, responder, read(), kOpenAiErrors);
}

http::Response OpenAiHandlers::HandleModels(const http::Request& request) const {
  if (AnthropicHandlers::IsClient(request)) return anthropic_.HandleModels();
  context_.service.RefreshModels();
  std::vector<ModelSummary> summaries;
  for (const ModelInfo& model : context_.service.Models()) summaries.push_back(Summarise(model));
  return http::Response::Json(200, openai::WriteModelList(summaries));
}

http::Response OpenAiHandlers::HandleModel(const http::Request& request) const {
  if (AnthropicHandlers::IsClient(request)) return anthropic_.HandleModel(request);
  const Result<ModelInfo> model = context_.service.FindModel(std::string(request.PathParam("id")));
  if (!model.ok())
    return ErrorResponse(RequestError{model.status(), "model", "model_not_found"}, kOpenAiErrors, request.request_id);
  return http::Response::Json(200, openai::WriteModel(Summarise(*model)));
}

}  // namespace lem
