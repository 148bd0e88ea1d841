#include "server/openai_handlers.h"

#include <fmt/format.h>

#include <chrono>
#include <random>
#include <span>
#include <utility>

#include "api/openai/chat_request.h"
#include "api/openai/chat_response.h"
#include "api/openai/completion_request.h"
#include "api/openai/completion_response.h"
#include "api/openai/models.h"
#include "base/sha256.h"
#include "server/error_mapping.h"
#include "server/generation_setup.h"
#include "server/served_answer.h"

namespace lem {
namespace {

int64_t NowUnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// "chatcmpl-" and 29 letters and digits. Unique, not secret.
std::string MakeId(std::string_view prefix) {
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  thread_local std::mt19937_64 random{std::random_device{}()};
  std::string id(prefix);
  for (int i = 0; i < 29; ++i) id += kAlphabet[random() % kAlphabet.size()];
  return id;
}

openai::Envelope MakeEnvelope(std::string_view id_prefix, const ModelInfo& model) {
  const std::string identity =
      fmt::format("{} {} {} {}", LEM_VERSION, model.path, model.size_bytes, model.created_unix_s);
  Sha256 hasher;
  hasher.Update(std::as_bytes(std::span(identity)));
  return {MakeId(id_prefix), NowUnixSeconds(), model.id, "fp_" + hasher.FinishHex().substr(0, 10)};
}

openai::ModelSummary Summarise(const ModelInfo& model) {
  std::string state = "ready";
  if (model.state == ModelState::kLoading) state = "loading";
  if (model.state == ModelState::kFailed) state = "failed";
  return {model.id, model.created_unix_s, model.context_length, std::move(state)};
}

// The body, parsed and checked, as a Request of the dialect.
template <typename Request>
ParseResult<Request> ParseBody(std::string_view body, ParseResult<Request> (*parse)(const JsonValue&)) {
  const Result<JsonValue> json = ParseJson(body);
  if (!json.ok()) return tl::unexpected(RequestError{json.status(), "", "invalid_json"});
  return parse(*json);
}

Clock::time_point DeadlineOf(const http::Request& request, std::chrono::milliseconds timeout) {
  return timeout.count() > 0 ? request.received_at + timeout : Clock::time_point::max();
}

}  // namespace

void OpenAiHandlers::AddRoutes(http::Router& router) {
  using http::Request;
  using http::Responder;
  for (const std::string prefix : {"/v1", ""}) {
    router.Add("GET", prefix + "/models", [this](const Request&) { return HandleModels(); });
    router.Add("GET", prefix + "/models/{id*}", [this](const Request& request) { return HandleModel(request); });
    router.Add("POST", prefix + "/chat/completions",
               [this](const Request& request, const Responder& responder) { HandleChat(request, responder); });
    router.Add("POST", prefix + "/completions",
               [this](const Request& request, const Responder& responder) { HandleCompletion(request, responder); });
  }
}

void OpenAiHandlers::HandleChat(const http::Request& request, const http::Responder& responder) {
  const auto set_up = [&]() -> ParseResult<AnswerSetup> {
    auto chat = ParseBody(request.body, openai::ParseChatRequest);
    if (!chat) return tl::unexpected(chat.error());
    auto model = FindReadyModel(service_, chat->options.model);
    if (!model) return tl::unexpected(model.error());
    const RequestOptions options = chat->options;
    auto setup = SetUpChat({service_, grammars_, request.request_id, DeadlineOf(request, request_timeout_)}, *model,
                           *std::move(chat));
    if (setup) setup->writer = openai::MakeChatWriter(MakeEnvelope("chatcmpl-", *model), options);
    return setup;
  };
  auto setup = set_up();
  if (!setup) return responder.Send(ErrorResponse(setup.error(), kOpenAiErrors));
  ServedAnswer::Start(loop_, *std::move(setup), responder, kOpenAiErrors, metrics_, request.received_at);
}

void OpenAiHandlers::HandleCompletion(const http::Request& request, const http::Responder& responder) {
  const auto set_up = [&]() -> ParseResult<AnswerSetup> {
    auto completion = ParseBody(request.body, openai::ParseCompletionRequest);
    if (!completion) return tl::unexpected(completion.error());
    auto model = FindReadyModel(service_, completion->options.model);
    if (!model) return tl::unexpected(model.error());
    auto setup = SetUpCompletion({service_, grammars_, request.request_id, DeadlineOf(request, request_timeout_)},
                                 *model, *completion);
    if (setup) {
      setup->writer = openai::MakeCompletionWriter(MakeEnvelope("cmpl-", *model), completion->options,
                                                   static_cast<int32_t>(setup->choices.size()));
    }
    return setup;
  };
  auto setup = set_up();
  if (!setup) return responder.Send(ErrorResponse(setup.error(), kOpenAiErrors));
  ServedAnswer::Start(loop_, *std::move(setup), responder, kOpenAiErrors, metrics_, request.received_at);
}

http::Response OpenAiHandlers::HandleModels() const {
  std::vector<openai::ModelSummary> summaries;
  for (const ModelInfo& model : service_.Models()) summaries.push_back(Summarise(model));
  return http::Response::Json(200, openai::WriteModelList(summaries));
}

http::Response OpenAiHandlers::HandleModel(const http::Request& request) const {
  const Result<ModelInfo> model = service_.FindModel(std::string(request.PathParam("id")));
  if (!model.ok()) return ErrorResponse(RequestError{model.status(), "model", "model_not_found"}, kOpenAiErrors);
  return http::Response::Json(200, openai::WriteModel(Summarise(*model)));
}

}  // namespace lem
