// The HTTP/1.1 server: listeners, I/O threads, workers. Knows nothing of language models.
//
//   Router router;                       // router.h: routes, patterns, where handlers run
//   router.Add("GET", "/health", [](const Request&) { return Response::Json(200, R"({"status":"ok"})"); },
//              {.run_on = RunOn::kIoThread});
//   router.Add("POST", "/v1/stream", [](Request request, Responder responder) {
//     auto stream = responder.StartStream(200, SseHeaders());     // responder.h, sse.h
//     responder.OnDisconnect([...] { ... cancel ... });
//     ... from any thread, any time: if (!stream->Write(SseEvent(json))) cancel; ... stream->Finish();
//   });
//   Server server(options, std::move(router));                    // options.h: limits, times, access, error shape
//   LEM_ASSIGN_OR_RETURN(uint16_t port, server.Listen("127.0.0.1", 5366));
//   LEM_TRY(server.Start());                                       // also Unix sockets, and TLS: tls.h
//   TerminationSignals(...).Wait();                                // signals.h
//   server.Drain(deadline);
//
// What it does by itself: keep-alive, pipelining (one request at a time), HEAD, OPTIONS and preflight, 100-continue,
// chunked bodies, request ids, Host and Origin checks (403), 404 with close routes, 405 with Allow, 408, 413, 414, 415,
// 417, 431, 503. Handlers that throw or forget to answer give 500.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/status.h"
#include "http/options.h"
#include "http/router.h"
#include "http/tls.h"

namespace lem::http {

// All methods may be called from one thread at a time that is not one of the server's own.
class Server {
 public:
  Server(ServerOptions options, Router router);
  ~Server();  // as Stop

  // Binds and listens; connections wait in the kernel until Start. `host` is an address or a name, with or without [];
  // port 0 takes a free one. Returns the port. May be called several times. REQUIRES: not started.
  // With `tls` clients must speak it. Errors: AlreadyExists (port in use), PermissionDenied, InvalidArgument (no such
  // host or address here).
  Result<uint16_t> Listen(const std::string& host, uint16_t port, std::shared_ptr<const TlsContext> tls = nullptr);

  // The same on a Unix socket, which only this user may connect to; any Host is served there. A socket that nobody
  // listens on any more is replaced; the file is removed at the end. Errors: AlreadyExists, InvalidArgument (path too
  // long), PermissionDenied.
  Status ListenOnUnixSocket(const std::filesystem::path& path);

  // The same on a socket that already listens and becomes the server's own, as service managers hand over. Returns
  // where that is: "127.0.0.1:5366" or a path. Errors: InvalidArgument (not a listening stream socket).
  Result<std::string> ListenOnDescriptor(int fd, std::shared_ptr<const TlsContext> tls = nullptr);

  // Starts the threads. REQUIRES: called once, after Listen.
  Status Start();

  // Accepts no more, closes idle connections and waits until requests under way are answered or `deadline` comes; then
  // breaks those off, waits for handlers that are running, and ends the threads.
  void Drain(std::chrono::steady_clock::time_point deadline);
  // Drain with no time to wait.
  void Stop();

  // True if every I/O thread comes to new work within `patience`. From any thread while the server is started.
  bool Responds(std::chrono::milliseconds patience) const;

  size_t num_connections() const;
  const Router& router() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lem::http
