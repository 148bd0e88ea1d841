// Every limit and time of the server in one place, with the default and its reason. Plain data.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "http/access_policy.h"
#include "http/message.h"

namespace lem::http {

// What a message may cost before a handler sees it.
struct MessageLimits {
  uint32_t max_header_bytes = 64 << 10;        // request line and fields, also trailers; more: 431
  uint32_t max_request_line_bytes = 16 << 10;  // more: 414
  size_t max_num_headers = 128;                // more: 431
  uint64_t max_body_bytes = 16 << 20;          // after chunks are joined; more: 413
};

// A client that is slower than these is closed. No time limits how long an answer takes: that is the handler's part.
struct Timeouts {
  using Duration = std::chrono::milliseconds;
  Duration idle = std::chrono::seconds(75);         // no request under way; proxies keep 60 s
  Duration handshake = std::chrono::seconds(10);    // of TLS, whole
  Duration header = std::chrono::seconds(20);       // first byte to end of the header
  Duration body_idle = std::chrono::seconds(30);    // between two pieces of a body
  Duration body_total = std::chrono::seconds(300);  // whole body: 16 MiB at 55 KiB/s
  Duration slow_reader = std::chrono::seconds(30);  // output waits and nothing is taken, or see slow_reader_bytes
  Duration linger = std::chrono::seconds(10);       // after the last answer, for the client to close or send its rest
};

// An error that the server itself answers (parsing, limits, access, routing, overload).
struct HttpError {
  int status = 500;
  std::string code;        // "header_too_large"
  std::string message;     // for people; may hold the client's text
  std::string path;        // of the request if it got that far: tells the dialect
  std::string request_id;  // if it got that far
};

// {"error":{"message","type","param","code"}} as OpenAI has it.
Response FormatErrorAsJson(const HttpError& error);

// Why a request may not be made.
struct Denial {
  int status = 403;
  std::string code;
  std::string message;
  Headers headers;  // "WWW-Authenticate", "Retry-After"
};

// One answered or broken-off request, for access logs and metrics.
struct ExchangeSummary {
  std::string method;
  std::string path;
  std::string route;  // pattern; "" if none matched. Use this, not path, as a metric's label
  std::string remote_address;
  std::string request_id;
  std::string principal;
  int status = 0;             // 0: the client went before there was one
  uint64_t sent_bytes = 0;    // of the body
  bool disconnected = false;  // the client went, or was given up, before the answer was complete
  std::chrono::nanoseconds duration{};
};

struct ServerOptions {
  int num_io_threads = 1;                // a connection stays on one of them
  int num_worker_threads = 2;            // for handlers with RunOn::kWorker
  size_t max_queued_work = 1024;         // handlers waiting for a worker; more: 503
  size_t max_connections = 8192;         // more: 503, and far more: closed
  size_t max_buffered_bytes = 16 << 20;  // of a stream whose client does not read: closed at once
  size_t slow_reader_bytes = 1 << 20;    // of a stream, for longer than timeouts.slow_reader: closed
  MessageLimits limits;
  Timeouts timeouts;
  AccessOptions access;
  // Says who makes a request (Request::principal) or why it may not be made, when its header is complete. `pattern` is
  // that of its route, "" if there is none. Not asked for OPTIONS. Called on I/O threads; must be quick. Empty: anyone
  // may.
  std::function<std::optional<Denial>(Request& request, std::string_view pattern)> authorize;
  // Shapes the server's own errors; default FormatErrorAsJson. Called on I/O threads.
  std::function<Response(const HttpError&)> error_formatter;
  // Called on an I/O thread at the end of each exchange; must be quick. May be empty.
  std::function<void(const ExchangeSummary&)> on_exchange_end;
};

}  // namespace lem::http
