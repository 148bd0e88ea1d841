#include "server/anthropic_handlers.h"

#include <utility>
#include <vector>

#include "api/anthropic/message_request.h"
#include "api/anthropic/message_response.h"
#include "server/error_mapping.h"
#include "server/served_answer.h"

namespace lem {

void AnthropicHandlers::AddRoutes(http::Router& router) {
  using http::Request;
  using http::Responder;
  for (const std::string prefix : {"/v1", ""}) {
    router.Add("POST", prefix + "/messages",
               [this](const Request& request, const Responder& responder) { HandleMessage(request, responder); });
    router.Add("POST", prefix + "/messages/count_tokens",
               [this](const Request& request) { return HandleCountTokens(request); });
  }
  // Claude Code reports what it does there and takes a refusal for a broken server. Nothing is kept.
  router.Add("POST", "/api/event_logging/batch", [](const Request&) { return http::Response{204, {}, ""}; });
}

bool AnthropicHandlers::IsClient(const http::Request& request) {
  return request.headers.Find("anthropic-version") != nullptr;
}

void AnthropicHandlers::HandleMessage(const http::Request& request, const http::Responder& responder) const {
  const auto set_up = [&]() -> ParseResult<AnswerSetup> {
    auto message = ParseBody(request.body, anthropic::ParseMessageRequest);
    if (!message) return tl::unexpected(message.error());
    auto model = FindReadyModel(context_.service, message->chat.options.model);
    if (!model) return tl::unexpected(model.error());
    const anthropic::MessageOptions options{message->chat.options.stream, message->thinking, message->show_thinking};
    auto setup = SetUpChat(context_.ForRequest(request), *model, std::move(message->chat));
    if (setup) {
      setup->call_id_prefix = "toolu_";
      setup->writer = anthropic::MakeMessageWriter({MakeId("msg_"), model->id, setup->prompt_tokens}, options);
    }
    return setup;
  };
  auto setup = set_up();
  if (!setup) return responder.Send(ErrorResponse(setup.error(), kAnthropicErrors, request.request_id));
  context_.Answer(*std::move(setup), MakeHttpSink(responder, request.request_id), kAnthropicErrors, request);
}

http::Response AnthropicHandlers::HandleCountTokens(const http::Request& request) const {
  const auto count = [&]() -> ParseResult<int64_t> {
    auto message = ParseBody(request.body, anthropic::ParseCountTokensRequest);
    if (!message) return tl::unexpected(message.error());
    auto model = FindReadyModel(context_.service, message->chat.options.model);
    if (!model) return tl::unexpected(model.error());
    return CountChatTokens(*model, std::move(message->chat));
  };
  const auto num_tokens = count();
  if (!num_tokens) return ErrorResponse(num_tokens.error(), kAnthropicErrors, request.request_id);
  return http::Response::Json(200, anthropic::WriteTokenCount(*num_tokens));
}

http::Response AnthropicHandlers::HandleModels() const {
  std::vector<ModelSummary> summaries;
  context_.service.RefreshModels();
  for (const ModelInfo& model : context_.service.Models()) summaries.push_back(Summarise(model));
  return http::Response::Json(200, anthropic::WriteModelList(summaries));
}

http::Response AnthropicHandlers::HandleModel(const http::Request& request) const {
  const Result<ModelInfo> model = context_.service.FindModel(std::string(request.PathParam("id")));
  if (!model.ok()) {
    return ErrorResponse(RequestError{model.status(), "model", "model_not_found"}, kAnthropicErrors,
                         request.request_id);
  }
  return http::Response::Json(200, anthropic::WriteModel(Summarise(*model)));
}

}  // namespace lem
