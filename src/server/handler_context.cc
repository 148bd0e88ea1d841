#include "server/handler_context.h"

#include <random>
#include <utility>

#include "server/load_report.h"

namespace lem {

GenerationContext HandlerContext::ForRequest(const http::Request& request) const {
  const bool is_limited = request_timeout.count() > 0;
  return {service, grammars, request.request_id,
          is_limited ? request.received_at + request_timeout : Clock::time_point::max(), ReadUrgency(request)};
}

void HandlerContext::Answer(AnswerSetup setup, std::unique_ptr<AnswerSink> sink, const ErrorDialect& dialect,
                            const http::Request& request) const {
  ServedAnswer::Start(loop, std::move(setup), std::move(sink), dialect, metrics,
                      {request.request_id, request.received_at, request.principal, request.remote_address,
                       LoadReport(request, service)},
                      on_answer);
}

int64_t NowUnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string MakeId(std::string_view prefix) {
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  thread_local std::mt19937_64 random{std::random_device{}()};
  std::string id(prefix);
  for (int i = 0; i < 29; ++i) id += kAlphabet[random() % kAlphabet.size()];
  return id;
}

ModelSummary Summarise(const ModelInfo& model) {
  std::string state = "ready";
  if (model.state == ModelState::kLoading) state = "loading";
  if (model.state == ModelState::kFailed) state = "failed";
  if (model.state == ModelState::kUnloaded) state = "unloaded";
  return {model.id, model.created_unix_s, model.context_length, std::move(state)};
}

}  // namespace lem
