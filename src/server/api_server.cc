#include "server/api_server.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/json.h"
#include "http/uri.h"
#include "server/api_reference.h"
#include "server/error_mapping.h"
#include "server/plan_json.h"

namespace lem {
namespace {

// Between the cancelling of what has not finished in time and the breaking of connections: error events go out.
constexpr auto kFarewellTime = std::chrono::milliseconds(500);

std::string_view StateName(ModelState state) {
  switch (state) {
    case ModelState::kUnloaded:
      return "unloaded";
    case ModelState::kLoading:
      return "loading";
    case ModelState::kReady:
      return "ready";
    case ModelState::kFailed:
      return "failed";
  }
  return "unknown";
}

AnswerObserver ObserverFor(const ApiServerOptions& options) {
  if (options.keys == nullptr && options.audit == nullptr) return {};
  return [keys = options.keys, audit = options.audit](const AuditedAnswer& answer) {
    if (keys != nullptr) keys->Charge(answer.principal, answer.prompt_tokens + answer.completion_tokens, Clock::now());
    if (audit != nullptr) audit->Write(answer);
  };
}

}  // namespace

ApiServerOptions::ApiServerOptions() {
  http.limits.max_body_bytes = 10 << 20;
  http.num_worker_threads = 8;  // some may be waiting for a model to load
}

ApiServer::ApiServer(InferenceService& service, ApiServerOptions options)
    : service_(service, std::move(options.aliases)),
      context_{service_, loop_, metrics_, grammars_, options.request_timeout, options.offline, ObserverFor(options)},
      library_(service_, options.store),
      anthropic_(context_),
      ollama_(context_, library_),
      openai_(context_, anthropic_),
      tokens_(context_) {
  options.http.error_formatter = [](const http::HttpError& error) { return ErrorResponse(error); };
  options.http.on_exchange_end = [this, audit = options.audit](const http::ExchangeSummary& summary) {
    metrics_.CountRequest(summary.route, summary.status);
    // Answers report themselves; of the rest, what was refused and what changed something.
    const bool is_refused = summary.status == 401 || summary.status == 403 || summary.status == 429;
    if (audit == nullptr || (!is_refused && ScopeOf(summary.route) != Scope::kModels)) return;
    audit->Write(AuditedRequest{summary.request_id, summary.principal, summary.remote_address, summary.method,
                                summary.route, summary.status});
  };
  if (options.keys != nullptr) {
    options.http.authorize = [keys = options.keys](http::Request& request, std::string_view pattern) {
      return keys->Check(request, pattern, Clock::now(), NowUnixSeconds());
    };
  }
  server_ = std::make_unique<http::Server>(std::move(options.http), MakeRouter(options.ollama_port));
}

http::Router ApiServer::MakeRouter(uint16_t ollama_port) {
  using http::Request;
  using http::Response;
  http::Router router;
  openai_.AddRoutes(router);
  anthropic_.AddRoutes(router);
  ollama_.AddRoutes(router);
  tokens_.AddRoutes(router);
  AddReferenceRoutes(router);
  const http::RouteOptions quick{.run_on = http::RunOn::kIoThread};
  router.Add("GET", "/health", [this](const Request&) { return HandleHealth(); }, quick);
  router.Add("GET", "/lem/v1/devices", [this](const Request&) { return HandleDevices(); });
  router.Add("GET", "/lem/v1/plans", [this](const Request&) { return Response::Json(200, PlansJson(service_)); });
  router.Add("GET", "/lem/v1/trace",
             [this](const Request&) { return Response::Json(200, ChromeTraceJson(service_.Trace())); });
  router.Add("GET", "/ready", [this](const Request&) { return HandleReady(); }, quick);
  router.Add("GET", "/metrics", [this](const Request&) {
    Response response = Response::Text(200, metrics_.Text(service_.Stats(), server_->num_connections()));
    response.headers = {{"Content-Type", std::string(MetricsRegistry::kTextContentType)}};
    return response;
  });
  router.Add("GET", "/", [ollama_port](const Request& request) {
    // What Ollama's clients look for on its port.
    const auto authority = http::ParseAuthority(request.headers.Get("Host"));
    if (ollama_port != 0 && authority && authority->port == ollama_port) {
      return Response::Text(200, "Ollama is running");
    }
    JsonWriter writer;
    writer.BeginObject().Key("name").String("Lemonade").Key("version").String(LEM_VERSION);
    writer.Key("openai_base_url").String("/v1").EndObject();
    return Response::Json(200, writer.Take());
  });
  return router;
}

// The process is well as long as it answers; a lost device is told, for its work goes on elsewhere.
http::Response ApiServer::HandleHealth() const {
  const std::vector<DeviceInfo> devices = service_.DevicesInUse();
  const std::vector<ModelInfo> models = service_.Models();
  if (std::ranges::all_of(devices, [](const DeviceInfo& device) { return device.health.ok(); }) &&
      std::ranges::all_of(models, [](const ModelInfo& model) { return model.placement_error.ok(); })) {
    return http::Response::Json(200, R"({"status":"ok"})");
  }
  JsonWriter writer;
  writer.BeginObject().Key("status").String("degraded").Key("lost_devices").BeginArray();
  for (const DeviceInfo& device : devices) {
    if (device.health.ok()) continue;
    writer.BeginObject().Key("id").String(device.id).Key("error").String(device.health.message()).EndObject();
  }
  writer.EndArray().Key("misplaced_models").BeginArray();
  for (const ModelInfo& model : models) {
    if (model.placement_error.ok()) continue;
    writer.BeginObject().Key("id").String(model.id).Key("error").String(model.placement_error.message()).EndObject();
  }
  writer.EndArray().EndObject();
  return http::Response::Json(200, writer.Take());
}

http::Response ApiServer::HandleDevices() const {
  JsonWriter writer;
  writer.BeginObject().Key("devices").BeginArray();
  for (const DeviceInfo& device : service_.Devices()) {
    writer.BeginObject().Key("id").String(device.id).Key("kind").String(device.kind);
    writer.Key("name").String(device.name).Key("driver").String(device.driver);
    writer.Key("emulated").Bool(device.emulated).Key("in_use").Bool(device.in_use);
    writer.Key("state").String(!device.health.ok() ? "lost" : device.compiling ? "compiling" : "ok");
    if (!device.health.ok()) writer.Key("error").String(device.health.message());
    writer.Key("submissions").UInt(device.submissions).Key("memory_bytes").UInt(device.memory_bytes).EndObject();
  }
  writer.EndArray().EndObject();
  return http::Response::Json(200, writer.Take());
}

http::Response ApiServer::HandleReady() const {
  const bool ready = service_.Ready() && !draining_.load();
  JsonWriter writer;
  writer.BeginObject().Key("status").String(draining_.load() ? "draining" : ready ? "ready" : "not ready");
  writer.Key("models").BeginArray();
  for (const ModelInfo& model : service_.Models()) {
    writer.BeginObject().Key("id").String(model.id).Key("state").String(StateName(model.state));
    if (!model.error.ok()) writer.Key("error").String(model.error.message());
    writer.EndObject();
  }
  writer.EndArray().EndObject();
  http::Response response = http::Response::Json(ready ? 200 : 503, writer.Take());
  if (!ready) response.headers.Add("Retry-After", "1");
  return response;
}

void ApiServer::Drain(Clock::time_point deadline) {
  draining_.store(true);
  std::thread service_drain([&] { service_.Drain(deadline - kFarewellTime); });
  server_->Drain(deadline);
  service_drain.join();
}

}  // namespace lem
