// The whole server: HTTP in front, an InferenceService behind, and the routes of every dialect and of operation
// between.
//
//   ApiServer server(service, options);
//   LEM_ASSIGN_OR_RETURN(uint16_t port, server.Listen("127.0.0.1", 5366));
//   LEM_TRY(server.Start());
//   TerminationSignals(...).Wait();
//   server.Drain(deadline);
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "http/server.h"
#include "runtime/inference_service.h"
#include "server/answer_loop.h"
#include "server/anthropic_handlers.h"
#include "server/api_keys.h"
#include "server/audit_log.h"
#include "server/handler_context.h"
#include "server/metrics.h"
#include "server/model_aliases.h"
#include "server/model_library.h"
#include "server/ollama_handlers.h"
#include "server/openai_handlers.h"
#include "server/token_handlers.h"

namespace lem {

struct ApiServerOptions {
  ApiServerOptions();

  http::ServerOptions http;
  std::chrono::milliseconds request_timeout{0};  // for a whole answer; 0 = as long as it takes
  ModelStore* store = nullptr;                   // outlives the server; null: clients cannot pull or delete
  bool offline = false;                          // nothing is fetched from other machines
  ApiKeys* keys = nullptr;                       // outlive the server; null: anyone may use it
  AuditLog* audit = nullptr;                     // the same; null: none is written
  ModelAliases aliases;                          // other names of models
  uint16_t ollama_port = 0;                      // the one that Ollama's clients look for, if it is listened on
};

// Methods may be called from one thread at a time.
class ApiServer {
 public:
  // The service must outlive it.
  explicit ApiServer(InferenceService& service, ApiServerOptions options = {});

  // As http::Server.
  Result<uint16_t> Listen(const std::string& host, uint16_t port,
                          std::shared_ptr<const http::TlsContext> tls = nullptr) {
    return server_->Listen(host, port, std::move(tls));
  }
  Status ListenOnUnixSocket(const std::filesystem::path& path) { return server_->ListenOnUnixSocket(path); }
  Result<std::string> ListenOnDescriptor(int fd, std::shared_ptr<const http::TlsContext> tls = nullptr) {
    return server_->ListenOnDescriptor(fd, std::move(tls));
  }
  Status Start() { return server_->Start(); }
  bool Responds(std::chrono::milliseconds patience) const { return server_->Responds(patience); }

  // Takes no new requests, waits for those under way until `deadline`, and then ends them with an error event. The
  // service is drained, too.
  void Drain(Clock::time_point deadline);

  const AnswerLoop& loop() const { return loop_; }
  const http::Router& router() const { return server_->router(); }

 private:
  http::Router MakeRouter(uint16_t ollama_port);
  http::Response HandleReady() const;
  http::Response HandleHealth() const;
  http::Response HandleDevices() const;

  AliasedService service_;
  Metrics metrics_;
  AnswerLoop loop_;
  GrammarCache grammars_;
  const HandlerContext context_;
  const ModelLibrary library_;
  AnthropicHandlers anthropic_;
  OllamaHandlers ollama_;
  OpenAiHandlers openai_;
  TokenHandlers tokens_;
  std::atomic<bool> draining_{false};
  std::unique_ptr<http::Server> server_;  // ends first: its handlers use the others
};

}  // namespace lem
