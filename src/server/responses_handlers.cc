#include "server/responses_handlers.h"

#include <charconv>
#include <iterator>
#include <utility>

#include "api/openai/responses_request.h"
#include "api/openai/responses_response.h"
#include "server/error_mapping.h"

namespace lem {
namespace {

constexpr size_t kMaxPageItems = 100;

// Whom a response belongs to: the key's name, or what else the client authenticates with.
std::string TenantOf(const http::Request& request) {
  if (!request.principal.empty()) return "key " + request.principal;
  const auto urgency = ReadUrgency(request);
  return urgency ? urgency->tenant : "";
}

// Appends the items of a JSON array that this server wrote.
void AppendItems(const std::string& json, JsonArray& items) {
  Result<JsonValue> parsed = ParseJson(json, {.max_bytes = size_t{1} << 30});
  if (!parsed.ok() || !parsed->is_array()) return;
  for (JsonValue& item : parsed->get_array()) items.push_back(std::move(item));
}

// Where the answer of a response in the background goes: into the store, by its writer; here only its failure.
class BackgroundSink final : public AnswerSink {
 public:
  BackgroundSink(std::shared_ptr<ResponseStore> store, std::string tenant, std::string id, std::string request_id)
      : store_(std::move(store)), tenant_(std::move(tenant)), id_(std::move(id)), request_id_(std::move(request_id)) {}
  // Does nothing to an answer that is complete.
  ~BackgroundSink() override { Fail({Unavailable("the server is shutting down"), "", ""}, kOpenAiErrors); }

  void OnGone(std::function<void()> callback) override { store_->SetCancel(tenant_, id_, std::move(callback)); }
  void SendBody(std::string /*body*/, http::Headers /*headers*/) override {}
  void SendError(const RequestError& error, const ErrorDialect& dialect) override { Fail(error, dialect); }
  size_t pending_bytes() const override { return 0; }
  size_t buffered_bytes() const override { return 0; }
  // Of streams, which none of these is.
  void BeginStream(http::Headers /*headers*/, StreamFraming /*framing*/) override {}
  void Put(const WireMessages& /*messages*/) override {}
  bool Flush() override { return true; }
  void KeepAlive(const WireMessages& /*ping*/) override {}
  void EndStream() override {}

 private:
  void Fail(const RequestError& error, const ErrorDialect& dialect) {
    store_->Fail(tenant_, id_, ToWireError(error, dialect, request_id_));
  }

  const std::shared_ptr<ResponseStore> store_;  // shared with the handlers
  const std::string tenant_, id_, request_id_;
};

http::Response NotThere(const http::Request& request) {
  const std::string id(request.PathParam("id"));
  return ErrorResponse(
      RequestError{NotFound("response {} is not there: it was not stored, was deleted, or has made room for later ones",
                            JsonQuote(id)),
                   "response_id", "response_not_found"},
      kOpenAiErrors, request.request_id);
}

// In the words of this endpoint.
RequestError Renamed(RequestError error) {
  if (error.param == "messages") error.param = "input";
  return error;
}

http::Response Refuse(const http::Request& request, Status status, std::string param) {
  return ErrorResponse(RequestError{std::move(status), std::move(param), "invalid_value"}, kOpenAiErrors,
                       request.request_id);
}

}  // namespace

// A request that has been read.
struct ResponsesHandlers::Wanted {
  openai::ResponsesRequest request;
  ModelInfo model;
  std::string tenant;
  openai::ResponseFrame frame;
  Conversation earlier;
};

void ResponsesHandlers::AddRoutes(http::Router& router) {
  using http::Request;
  using http::Responder;
  for (const std::string prefix : {"/v1/responses", "/responses"}) {
    router.Add("POST", prefix,
               [this](const Request& request, const Responder& responder) { HandleCreate(request, responder); });
    router.Add("POST", prefix + "/input_tokens", [this](const Request& request) { return HandleCountTokens(request); });
    router.Add("GET", prefix + "/{id}", [this](const Request& request) { return HandleGet(request); });
    router.Add("DELETE", prefix + "/{id}", [this](const Request& request) { return HandleDelete(request); });
    // The official clients send it without a body, or with an empty one.
    router.Add("POST", prefix + "/{id}/cancel", [this](const Request& request) { return HandleCancel(request); },
               {.body_type = http::BodyType::kAny});
    router.Add("GET", prefix + "/{id}/input_items",
               [this](const Request& request) { return HandleInputItems(request); });
  }
}

ParseResult<ResponsesHandlers::Wanted> ResponsesHandlers::Read(const http::Request& request) const {
  const Result<JsonValue> json = ParseJson(request.body);
  if (!json.ok()) return tl::unexpected(RequestError{json.status(), "", "invalid_json"});
  Wanted wanted;
  wanted.tenant = TenantOf(request);
  wanted.frame.id = MakeId("resp_");
  const auto earlier = [&](const std::string& id) -> ParseResult<JsonArray> {
    auto conversation = store_->FindConversation(wanted.tenant, id);
    if (!conversation) return tl::unexpected(conversation.error());
    JsonArray items;
    for (const auto& turn : *conversation) {
      AppendItems(turn->input, items);
      AppendItems(turn->output, items);
    }
    wanted.earlier = *std::move(conversation);
    return items;
  };
  auto parsed = openai::ParseResponsesRequest(*json, wanted.frame.id, earlier);
  if (!parsed) return tl::unexpected(parsed.error());
  wanted.request = *std::move(parsed);
  auto model = FindReadyModel(context_.service, wanted.request.chat.options.model);
  if (!model) return tl::unexpected(model.error());
  wanted.model = *std::move(model);
  wanted.frame.created_unix_s = NowUnixSeconds();
  wanted.frame.model = wanted.model.id;
  wanted.frame.echo = std::move(wanted.request.echo);
  return wanted;
}

void ResponsesHandlers::HandleCreate(const http::Request& request, const http::Responder& responder) const {
  const auto refuse = [&](const RequestError& error) {
    responder.Send(ErrorResponse(error, kOpenAiErrors, request.request_id));
  };
  auto wanted = Read(request);
  if (!wanted) return refuse(wanted.error());
  openai::ResponsesRequest& body = wanted->request;
  const openai::ResponseOptions options{body.chat.options.stream, body.chat.options.num_logprobs >= 0, body.reasoning};
  GenerationContext generation = context_.ForRequest(request);
  // Who does not wait for it says so: others come first.
  if (body.background && generation.urgency && request.headers.Find("x-lem-priority") == nullptr) {
    generation.urgency->priority = Priority::kBatch;
  }
  auto setup = SetUpChat(generation, wanted->model, std::move(body.chat));
  if (!setup) return refuse(Renamed(setup.error()));
  openai::ResponseObserver observer;
  if (body.background) {
    observer = [store = store_, tenant = wanted->tenant,
                id = wanted->frame.id](const openai::FinishedResponse& finished) {
      store->Complete(tenant, id, finished.body, finished.output);
    };
  } else if (body.store) {
    observer = [store = store_, tenant = wanted->tenant, id = wanted->frame.id, earlier = wanted->earlier,
                input = body.input](const openai::FinishedResponse& finished) mutable {
      store->Put(tenant, id, finished.body, std::move(earlier), std::move(input), finished.output);
    };
  }
  setup->writer = openai::MakeResponsesWriter(wanted->frame, options, NowUnixSeconds, std::move(observer));
  if (body.background) return RunInBackground(request, responder, *std::move(wanted), *std::move(setup));
  context_.Answer(*std::move(setup), MakeHttpSink(responder, request.request_id), kOpenAiErrors, request);
}

void ResponsesHandlers::RunInBackground(const http::Request& request, const http::Responder& responder, Wanted wanted,
                                        AnswerSetup setup) const {
  const std::string id = wanted.frame.id;
  std::string queued = openai::WriteResponse(wanted.frame, "queued");
  const Status begun =
      store_->Begin(wanted.tenant, std::move(wanted.frame), std::move(wanted.earlier), std::move(wanted.request.input));
  if (!begun.ok()) {
    return responder.Send(ErrorResponse(RequestError{begun, "background", ""}, kOpenAiErrors, request.request_id));
  }
  context_.Answer(std::move(setup), std::make_unique<BackgroundSink>(store_, wanted.tenant, id, request.request_id),
                  kOpenAiErrors, request);
  responder.Send(http::Response::Json(200, std::move(queued)));
}

http::Response ResponsesHandlers::HandleCountTokens(const http::Request& request) const {
  const auto count = [&]() -> ParseResult<int64_t> {
    auto wanted = Read(request);
    if (!wanted) return tl::unexpected(wanted.error());
    return CountChatTokens(wanted->model, std::move(wanted->request.chat));
  };
  const auto num_tokens = count();
  if (!num_tokens) return ErrorResponse(Renamed(num_tokens.error()), kOpenAiErrors, request.request_id);
  return http::Response::Json(200, openai::WriteInputTokens(*num_tokens));
}

http::Response ResponsesHandlers::HandleGet(const http::Request& request) const {
  if (request.QueryParam("stream").value_or("false") == "true") {
    return Refuse(request, InvalidArgument("stream is true; events are not kept: ask again until the status is final"),
                  "stream");
  }
  auto found = store_->Find(TenantOf(request), std::string(request.PathParam("id")));
  return found ? http::Response::Json(200, std::move(found->body)) : NotThere(request);
}

http::Response ResponsesHandlers::HandleDelete(const http::Request& request) const {
  const std::string id(request.PathParam("id"));
  if (!store_->Remove(TenantOf(request), id)) return NotThere(request);
  return http::Response::Json(200, openai::WriteDeletedResponse(id));
}

http::Response ResponsesHandlers::HandleCancel(const http::Request& request) const {
  auto body = store_->Cancel(TenantOf(request), std::string(request.PathParam("id")));
  if (!body) return ErrorResponse(body.error(), kOpenAiErrors, request.request_id);
  return *body ? http::Response::Json(200, **std::move(body)) : NotThere(request);
}

http::Response ResponsesHandlers::HandleInputItems(const http::Request& request) const {
  openai::ItemListQuery query;
  if (const auto limit = request.QueryParam("limit")) {
    const auto [end, error] = std::from_chars(limit->data(), limit->data() + limit->size(), query.limit);
    if (error != std::errc() || end != limit->data() + limit->size() || query.limit < 1 ||
        query.limit > kMaxPageItems) {
      return Refuse(request, InvalidArgument("limit is {}; allowed: 1 to {}", JsonQuote(*limit), kMaxPageItems),
                    "limit");
    }
  }
  if (const auto order = request.QueryParam("order")) {
    if (*order != "asc" && *order != "desc") {
      return Refuse(request, InvalidArgument("order is {}; allowed: asc or desc", JsonQuote(*order)), "order");
    }
    query.newest_first = *order == "desc";
  }
  query.after = request.QueryParam("after").value_or("");
  const auto found = store_->Find(TenantOf(request), std::string(request.PathParam("id")));
  if (!found) return NotThere(request);
  JsonArray items;
  for (size_t i = 0; i < found->conversation.size(); ++i) {
    AppendItems(found->conversation[i]->input, items);
    // Its own output is no input.
    if (i + 1 < found->conversation.size()) AppendItems(found->conversation[i]->output, items);
  }
  auto page = openai::WriteItemList(items, query);
  if (!page) {
    return Refuse(request, InvalidArgument("after is {}, which is none of the items", JsonQuote(query.after)), "after");
  }
  return http::Response::Json(200, *std::move(page));
}

}  // namespace lem
