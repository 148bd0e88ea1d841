#include "server/ollama_handlers.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "server/embedding_answer.h"
#include "server/error_mapping.h"
#include "server/fill_in_the_middle.h"
#include "server/served_answer.h"
#include "text/tool_calls/tool_format.h"

namespace lem {
namespace {

// The version of Ollama whose API this is: some clients refuse to speak to earlier ones.
constexpr std::string_view kOllamaVersion = "0.32.0";
// Progress of a download is told at most this often.
constexpr auto kProgressInterval = std::chrono::milliseconds(100);

http::Response Refusal(const RequestError& error) { return ErrorResponse(error, kOllamaErrors, ""); }

http::Response Unsupported(std::string_view what) { return Refusal({Unimplemented("{}", what), "", "unsupported"}); }

// Ollama's users call it with curl, which says that it sends a form. Web pages can do that, too, but not without an
// Origin.
std::optional<http::Response> RefuseMediaType(const http::Request& request) {
  const std::string type = http::MediaType(request.headers.Get("Content-Type"));
  const bool is_plain_curl = type.empty() || type == "application/x-www-form-urlencoded";
  if (http::IsJsonMediaType(type) || request.body.empty()) return std::nullopt;
  if (is_plain_curl && request.headers.Find("Origin") == nullptr) return std::nullopt;
  http::HttpError error;
  error.status = 415;
  error.code = "unsupported_media_type";
  error.message = fmt::format("the Content-Type is '{}'; {} takes application/json", type, request.route);
  error.path = request.path;
  return ErrorResponse(error);
}

http::Headers LineHeaders() { return {{"Content-Type", "application/x-ndjson"}, {"Cache-Control", "no-cache"}}; }

// A download as the lines of an answer. Used by the job's thread.
class PullAnswer {
 public:
  PullAnswer(http::Responder responder, bool stream) : responder_(std::move(responder)), stream_wanted_(stream) {}

  void Begin() {
    if (!stream_wanted_) return;
    stream_ = responder_.StartStream(200, LineHeaders());
    Line({"pulling manifest", "", 0, 0});
  }

  void OnProgress(const PullProgress& progress) {
    const auto now = Clock::now();
    if (progress.phase == last_phase_ && now - last_line_ < kProgressInterval) return;
    last_phase_ = progress.phase;
    last_line_ = now;
    switch (progress.phase) {
      case PullProgress::Phase::kWaiting:
        return Line({"waiting for another pull", "", 0, 0});
      case PullProgress::Phase::kChecking:
        return Line({"checking what is there", "", 0, 0});
      case PullProgress::Phase::kDownloading:
        return Line({"pulling " + progress.source, progress.source, progress.total_bytes, progress.done_bytes});
      case PullProgress::Phase::kVerifying:
        return Line({"verifying sha256 digest", "", 0, 0});
    }
  }

  void OnEnd(const Result<PullResult>& result) {
    if (!result.ok()) {
      const RequestError error{result.status(), "", ""};
      if (stream_ == nullptr) return responder_.Send(Refusal(error));
      stream_->Write(ollama::WriteError(ToWireError(error, kOllamaErrors, "")) + '\n');
      return stream_->Finish();
    }
    if (stream_ == nullptr) {
      return responder_.Send(http::Response::Json(200, ollama::WriteProgress({"success", "", 0, 0})));
    }
    Line({"writing manifest", "", 0, 0});
    Line({"success", "", 0, 0});
    stream_->Finish();
  }

 private:
  void Line(const ollama::Progress& progress) const {
    if (stream_) stream_->Write(ollama::WriteProgress(progress) + '\n');
  }

  const http::Responder responder_;
  const bool stream_wanted_;
  std::shared_ptr<http::EventStream> stream_;  // shared with the connection
  PullProgress::Phase last_phase_ = PullProgress::Phase::kWaiting;
  Clock::time_point last_line_{};
};

}  // namespace

OllamaHandlers::OllamaHandlers(const HandlerContext& context, const ModelLibrary& library)
    : context_(context), library_(library) {
  if (library.store() != nullptr) pulls_ = std::make_unique<PullJobs>(*library.store());
}

void OllamaHandlers::AddRoutes(http::Router& router) {
  using http::Request;
  using http::Responder;
  using http::Response;
  const http::RouteOptions any_body{.body_type = http::BodyType::kAny};
  const auto list = [this](std::string (*write)(std::span<const ollama::Model>), bool loaded_only) {
    std::vector<ollama::Model> models;
    for (const ModelLibrary::Entry& entry : library_.List()) {
      const bool is_loaded = entry.info && entry.info->state == ModelState::kReady;
      if (is_loaded || !loaded_only) models.push_back(Describe(entry));
    }
    return Response::Json(200, write(models));
  };
  router.Add("GET", "/api/version",
             [](const Request&) { return Response::Json(200, fmt::format(R"({{"version":"{}"}})", kOllamaVersion)); });
  router.Add("GET", "/api/tags", [list](const Request&) { return list(ollama::WriteTags, false); });
  router.Add("GET", "/api/ps", [list](const Request&) { return list(ollama::WriteLoadedModels, true); });
  router.Add(
      "POST", "/api/chat",
      [this](const Request& request, const Responder& responder) {
        HandleAnswer(request, responder, ollama::Answer::kChat, ollama::ParseChat);
      },
      any_body);
  router.Add(
      "POST", "/api/generate",
      [this](const Request& request, const Responder& responder) {
        HandleAnswer(request, responder, ollama::Answer::kGenerate, ollama::ParseGenerate);
      },
      any_body);
  router.Add("POST", "/api/show", [this](const Request& request) { return HandleShow(request); }, any_body);
  router.Add("DELETE", "/api/delete", [this](const Request& request) { return HandleDelete(request); }, any_body);
  router.Add(
      "POST", "/api/pull",
      [this](const Request& request, const Responder& responder) { HandlePull(request, responder); }, any_body);
  const std::pair<const char*, ParseEmbed> embeds[] = {{"/api/embed", ollama::ParseEmbed},
                                                       {"/api/embeddings", ollama::ParseEmbeddings}};
  for (const auto& [path, parse] : embeds) {
    router.Add(
        "POST", path,
        [this, read = parse](const Request& request, const Responder& responder) {
          HandleEmbed(request, responder, read);
        },
        any_body);
  }
  const std::pair<const char*, const char*> missing[] = {
      {"/api/push", "models are not pushed to registries"},
      {"/api/create", "models are not made from others yet; a .gguf file is served as it is: lem serve --model FILE"},
      {"/api/copy", "models have one name; models.toml adds names of your own"},
  };
  for (const auto& [path, why] : missing) {
    router.Add("POST", path, [reason = why](const Request&) { return Unsupported(reason); }, any_body);
  }
}

ollama::Model OllamaHandlers::Describe(const ModelLibrary::Entry& entry) {
  ollama::Model model;
  model.name = ollama::WithTag(entry.id);
  model.digest = entry.sha256;
  model.size_bytes = entry.size_bytes;
  model.modified_unix_s = entry.modified_unix_s;
  model.capabilities = {"completion"};
  if (!entry.info) return model;
  const ModelInfo& info = *entry.info;
  model.architecture = info.architecture;
  model.quantization = info.quantization;
  model.num_parameters = info.num_parameters;
  model.context_length = info.context_length;
  if (info.expires) {
    model.expires_unix_s =
        NowUnixSeconds() + std::chrono::duration_cast<std::chrono::seconds>(*info.expires - Clock::now()).count();
  }
  if (info.tokenizer == nullptr || info.chat_template == nullptr) return model;
  model.chat_template = info.chat_template->source();
  // Tools work with every model; reasoning and filling in only with those that were trained for it.
  model.capabilities.emplace_back("tools");
  if (CanFillIn(*info.tokenizer)) model.capabilities.emplace_back("insert");
  if (!DetectToolFormat(*info.chat_template, *info.tokenizer).reasoning.open.empty()) {
    model.capabilities.emplace_back("thinking");
  }
  return model;
}

void OllamaHandlers::HandleAnswer(const http::Request& request, const http::Responder& responder, ollama::Answer answer,
                                  Parse parse) const {
  if (auto refusal = RefuseMediaType(request)) return responder.Send(*std::move(refusal));
  auto wanted = ParseBody(request.body, parse);
  if (!wanted) return responder.Send(Refusal(wanted.error()));
  const std::string id = library_.ServedId(wanted->model);
  if (wanted->kind == ollama::Request::Kind::kUnload) return responder.Send(Unload(id, answer, wanted->model));
  const GenerationContext context = context_.ForRequest(request);
  auto model = FindReadyModel(context_.service, id, context.deadline);
  if (!model) return responder.Send(Refusal(model.error()));
  if (wanted->keep_alive) (void)context_.service.SetKeepAlive(id, *wanted->keep_alive);
  if (wanted->kind == ollama::Request::Kind::kLoad) {
    return responder.Send(
        http::Response::Json(200, ollama::WriteLoaded({.answer = answer, .model = wanted->model}, "load")));
  }
  auto setup = SetUp(request, answer, *model, *std::move(wanted));
  if (!setup) return responder.Send(Refusal(setup.error()));
  context_.Answer(*std::move(setup), MakeHttpSink(responder, request.request_id), kOllamaErrors, request);
}

void OllamaHandlers::HandleEmbed(const http::Request& request, const http::Responder& responder,
                                 ParseEmbed parse) const {
  if (auto refusal = RefuseMediaType(request)) return responder.Send(*std::move(refusal));
  const auto read = [&]() -> ParseResult<EmbeddingQuery> {
    auto wanted = ParseBody(request.body, parse);
    if (!wanted) return tl::unexpected(wanted.error());
    EmbeddingQuery query{.model = library_.ServedId(wanted->model),
                         .inputs = std::move(wanted->inputs),
                         .param = "input",
                         .dimensions = wanted->dimensions,
                         .truncate = wanted->truncate,
                         .keep_alive = wanted->keep_alive};
    query.write = [response =
                       ollama::EmbedResponse{
                           .model = wanted->model, .is_single = wanted->is_single, .received_at = request.received_at}](
                      const std::string&, const auto& vectors, int64_t prompt_tokens) mutable {
      response.prompt_tokens = prompt_tokens;
      return ollama::WriteEmbeddings(response, vectors);
    };
    return query;
  };
  AnswerEmbeddings(context_, request, responder, read(), kOllamaErrors);
}

http::Response OllamaHandlers::Unload(const std::string& id, ollama::Answer answer, const std::string& name) const {
  const Status unloaded = context_.service.Unload(id);
  if (!unloaded.ok()) return Refusal({unloaded, "model", "model_not_found"});
  return http::Response::Json(200, ollama::WriteLoaded({.answer = answer, .model = name}, "unload"));
}

ParseResult<AnswerSetup> OllamaHandlers::SetUp(const http::Request& request, ollama::Answer answer,
                                               const ModelInfo& model, ollama::Request wanted) const {
  const bool thinks = !DetectToolFormat(*model.chat_template, *model.tokenizer).reasoning.open.empty();
  if (wanted.think.value_or(false) && !thinks) {
    return tl::unexpected(RequestError{InvalidArgument("\"{}\" does not support thinking", wanted.model), "think", ""});
  }
  ollama::ResponseOptions options{.answer = answer,
                                  .model = wanted.model,
                                  .stream = wanted.stream,
                                  .with_logprobs = wanted.chat.options.num_logprobs >= 0,
                                  .thinking = wanted.think.value_or(true),
                                  .received_at = request.received_at};
  const GenerationContext context = context_.ForRequest(request);
  auto setup = wanted.kind == ollama::Request::Kind::kChat ? SetUpChat(context, model, std::move(wanted.chat))
                                                           : SetUpCompletion(context, model, wanted.text);
  if (setup) setup->writer = ollama::MakeWriter(std::move(options));
  return setup;
}

http::Response OllamaHandlers::HandleShow(const http::Request& request) const {
  if (auto refusal = RefuseMediaType(request)) return *std::move(refusal);
  const auto named = ParseBody(request.body, ollama::ParseNamedModel);
  if (!named) return Refusal(named.error());
  const auto entry = library_.Find(named->name);
  if (!entry) return Refusal({NotFound("model '{}' not found", named->name), "model", "model_not_found"});
  return http::Response::Json(200, ollama::WriteShow(Describe(*entry)));
}

http::Response OllamaHandlers::HandleDelete(const http::Request& request) const {
  if (auto refusal = RefuseMediaType(request)) return *std::move(refusal);
  const auto named = ParseBody(request.body, ollama::ParseNamedModel);
  if (!named) return Refusal(named.error());
  const auto entry = library_.Find(named->name);
  if (!entry) return Refusal({NotFound("model '{}' not found", named->name), "model", "model_not_found"});
  if (library_.store() == nullptr) return Unsupported("this server has no store of models");
  const Result<StoredModel> removed = library_.store()->Remove(entry->id);
  if (!removed.ok()) return Refusal({removed.status(), "model", ""});
  return http::Response::Json(200, "{}");
}

void OllamaHandlers::HandlePull(const http::Request& request, const http::Responder& responder) {
  if (auto refusal = RefuseMediaType(request)) return responder.Send(*std::move(refusal));
  const auto named = ParseBody(request.body, ollama::ParseNamedModel);
  if (!named) return responder.Send(Refusal(named.error()));
  // Never a path: clients do not choose files of this machine.
  if (!IsModelName(named->name) || LooksLikePath(named->name)) {
    return responder.Send(Refusal({InvalidArgument("{} is no name of a model", JsonQuote(named->name)), "model", ""}));
  }
  if (context_.offline) {
    return responder.Send(
        Refusal({PermissionDenied("this server was started with --offline: it pulls nothing"), "", ""}));
  }
  if (pulls_ == nullptr) return responder.Send(Unsupported("this server has no store of models"));
  // A name without the default tag is what the catalogue has.
  std::string name = named->name.ends_with(":latest") ? named->name.substr(0, named->name.rfind(':')) : named->name;
  // Shared by the two functions of the listener.
  const auto answer = std::make_shared<PullAnswer>(responder, named->stream);
  answer->Begin();
  const auto started = pulls_->Start(
      std::move(name), {.on_progress = [answer](const PullProgress& progress) { answer->OnProgress(progress); },
                        .on_end = [answer](const Result<PullResult>& result) { answer->OnEnd(result); }});
  if (!started.ok()) return answer->OnEnd(tl::unexpected(started.status()));
  responder.OnDisconnect([cancel = *started] { cancel->Cancel(); });
}

}  // namespace lem
