#include "http/connection.h"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <exception>
#include <random>
#include <utility>

#include "base/log.h"
#include "http/uri.h"
#include "http/web_socket_session.h"

namespace lem::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using TimePoint = Connection::Clock::time_point;

// Pipelined requests wait here while one is answered; with this much read the client's TCP has to hold the rest.
constexpr size_t kMaxReadAhead = 64 << 10;
// A refused body up to this size is read, so that the connection can go on; a larger one ends it.
constexpr uint64_t kMaxRefusedBody = 64 << 10;
// Read and thrown away after an early refusal, so that the client gets to reading the answer.
constexpr size_t kMaxLingerBytes = size_t{64} << 20;
constexpr size_t kMaxRequestIdLength = 128;

// The client's own request id if it is one that can stand in any log.
bool IsPlainRequestId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxRequestIdLength &&
         id.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:/+=@-") ==
             std::string_view::npos;
}

// A request on its way to a worker thread.
struct HandlerCall {
  const Route& route;
  Request request;
  Responder responder;
};

void RunHandler(HandlerCall call) {
  try {
    call.route.handler(std::move(call.request), std::move(call.responder));
  } catch (const std::exception& error) {
    // The responder is gone unanswered, so the client gets a 500.
    LogError("handler of {} {} threw: {}", call.route.method, call.route.pattern, error.what());
  }
}

}  // namespace

ServerContext::ServerContext(ServerOptions options_in, Router router_in)
    : options(std::move(options_in)),
      router(std::move(router_in)),
      access(options.access),
      workers(options.num_worker_threads, options.max_queued_work),
      request_id_seed((uint64_t{std::random_device()()} << 32) | std::random_device()()) {}

std::string ServerContext::NewRequestId() {
  // SplitMix64: a permutation of the counter, so ids of one server never repeat.
  uint64_t x = request_id_seed + num_request_ids.fetch_add(1, std::memory_order_relaxed) * 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return fmt::format("req_{:016x}", x ^ (x >> 31));
}

void ServerContext::ConnectionClosed() {
  {
    const std::lock_guard lock(mutex);
    --num_connections;
  }
  connection_closed.notify_all();
}

Connection::Connection(ServerContext& context, IoThread& io_thread, Socket socket, std::string bound_host,
                       Admission admission)
    : context_(context),
      io_thread_(io_thread),
      socket_(std::move(socket)),
      bound_host_(std::move(bound_host)),
      admission_(admission),
      remote_address_(socket_.RemoteAddress()),
      parser_(std::make_unique<RequestParser>(context.options.limits)),
      timer_(io_thread.context),
      idle_since_(Clock::now()) {}

Connection::~Connection() {
  if (exchange_) exchange_->Detach();
}

void Connection::Start() {
  WatchRead();
  ArmTimer();
}

void Connection::BeginDrain() {
  if (phase_ == Phase::kReading && !parser_->started() && out_.empty()) Close();
}

void Connection::Abort() { Close(); }

void Connection::Wake() {
  asio::post(io_thread_.context, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->Guarded(&Connection::OnWake);
  });
}

void Connection::Guarded(void (Connection::*step)()) {
  if (closed_) return;
  try {
    (this->*step)();
  } catch (const std::exception& error) {
    // Out of memory, or a callback of the program's that throws: ends this connection and no other.
    LogError("connection of {} closed: {}", remote_address_, error.what());
    Close();
  }
}

bool Connection::KeepAlive() const {
  return wants_keep_alive_ && admission_ == Admission::kServe && !context_.draining->load(std::memory_order_relaxed);
}

void Connection::WatchRead() {
  if (closed_ || peer_eof_ || read_watched_) return;
  if (phase_ != Phase::kReading && phase_ != Phase::kLingering && in_.size() >= kMaxReadAhead) return;
  read_watched_ = true;
  socket_.WaitToRead([self = shared_from_this()](error_code error) {
    self->read_watched_ = false;
    if (!error) self->Guarded(&Connection::OnReadable);
  });
}

void Connection::OnReadable() {
  error_code error;
  const size_t num_read = socket_.ReadSome(asio::buffer(io_thread_.scratch), error);
  if (error == asio::error::would_block || error == asio::error::interrupted) return WatchRead();
  if (error == asio::error::eof) return OnPeerEof();
  if (error) return Abort();
  last_read_ = Clock::now();
  if (phase_ == Phase::kLingering) {
    lingered_bytes_ += num_read;
    if (lingered_bytes_ > kMaxLingerBytes) return Close();
  } else {
    in_.append(io_thread_.scratch.data(), num_read);
    ProcessInput();
  }
  WatchRead();
  ArmTimer();
}

void Connection::OnPeerEof() {
  peer_eof_ = true;
  switch (phase_) {
    case Phase::kReading:
    case Phase::kLingering:
      return Close();
    case Phase::kAnswering:
      // A stream has lost its reader. A single answer may still be wanted by a client that has only shut down its
      // sending side, so it is tried; the handler is told in both cases.
      if (streaming_) return Close();
      if (exchange_) exchange_->Disconnect();
      return;
    case Phase::kFlushing:
      return;
  }
}

void Connection::ProcessInput() {
  if (processing_) return;
  processing_ = true;
  while (phase_ == Phase::kReading && !closed_) {
    size_t num_consumed = 0;
    const bool was_started = parser_->started();
    const auto progress = parser_->Feed(in_, num_consumed);
    in_.erase(0, num_consumed);
    if (!was_started && parser_->started()) started_at_ = Clock::now();
    if (progress == RequestParser::Progress::kNeedMore) break;
    switch (progress) {
      case RequestParser::Progress::kHeaderDone:
        OnHeader();
        break;
      case RequestParser::Progress::kComplete:
        OnRequestComplete();
        break;
      default: {
        const ParseError& parse_error = parser_->error();
        FailRequest(parse_error.status, parse_error.code, parse_error.message);
      }
    }
  }
  processing_ = false;
  if (in_.empty()) in_ = {};  // an idle connection keeps no buffer
  // What is left of a half-closed client's bytes is no whole request.
  if (peer_eof_ && phase_ == Phase::kReading) Close();
}

void Connection::OnHeader() {
  Request& request = parser_->request();
  body_since_ = last_read_ = request.received_at = Clock::now();
  request.remote_address = remote_address_;
  const std::string_view client_id = request.headers.Get("X-Request-Id");
  request.request_id = IsPlainRequestId(client_id) ? std::string(client_id) : context_.NewRequestId();
  summary_.method = request.method;
  summary_.path = request.path;
  summary_.request_id = request.request_id;
  // The second name is the one that Anthropic's clients look for.
  extra_fields_ = {
      {"X-Request-Id", request.request_id}, {"Request-Id", request.request_id}, {"X-Content-Type-Options", "nosniff"}};
  wants_keep_alive_ = parser_->keep_alive();
  http11_ = parser_->http11();
  head_only_ = request.method == "HEAD";

  ready_answer_ = AnswerFromHeader(request);
  const std::optional<uint64_t> length = parser_->body_length();
  const bool has_body = !length || *length > 0;
  const bool expects_continue = http11_ && request.headers.Find("Expect") != nullptr;
  if (!ready_answer_) {
    if (expects_continue && has_body && in_.empty()) {
      QueueBytes("HTTP/1.1 100 Continue\r\n\r\n");
      Flush();
    }
    return;
  }
  if (!has_body) return;
  parser_->DiscardBody();
  if (!length || *length > kMaxRefusedBody || expects_continue) {
    wants_keep_alive_ = false;
    QueueResponse(*std::exchange(ready_answer_, std::nullopt));
    Flush();
  }
}

std::optional<Response> Connection::AnswerFromHeader(const Request& request) {
  if (admission_ == Admission::kRefuse) {
    Response response = MakeError(503, "too_many_connections", "the server has no room for more connections now");
    response.headers.Add("Retry-After", "1");
    return response;
  }
  if (auto denial = context_.access.Check(request, parser_->authority(), bound_host_)) {
    return MakeError(denial->status, std::move(denial->code), std::move(denial->message));
  }
  for (const auto& [name, value] : context_.access.CorsHeaders(request)) extra_fields_.Add(name, value);
  const std::string* expect = request.headers.Find("Expect");
  if (expect != nullptr && !EqualsIgnoreCase(TrimSpace(*expect), "100-continue")) {
    return MakeError(417, "expectation_failed", "the only Expect value served here is 100-continue");
  }
  if (request.path == "*" && request.method == "OPTIONS") return Response{204, {}, ""};
  if (auto answer = AnswerFromRoute(parser_->request())) return answer;
  const std::optional<uint64_t> length = parser_->body_length();
  if (length && *length > context_.options.limits.max_body_bytes) {
    return MakeError(413, "body_too_large",
                     fmt::format("the request body has {} bytes; at most {} are allowed", *length,
                                 context_.options.limits.max_body_bytes));
  }
  return std::nullopt;
}

std::optional<Response> Connection::AnswerFromRoute(Request& request) {
  std::optional<RouteMatch> match = context_.router.Match(request.method, request.path);
  if (!match) {
    return MakeError(400, "bad_target", "the path has a broken %-escape; two hexadecimal digits must follow %");
  }
  if (context_.options.authorize && request.method != "OPTIONS") {
    const std::string_view pattern = match->route == nullptr ? std::string_view() : match->route->pattern;
    if (std::optional<Denial> denial = context_.options.authorize(request, pattern)) {
      if (match->route != nullptr) summary_.route = match->route->pattern;
      Response response = MakeError(denial->status, std::move(denial->code), std::move(denial->message));
      for (const auto& [name, value] : denial->headers) response.headers.Set(name, value);
      return response;
    }
    summary_.principal = request.principal;
  }
  if (match->route == nullptr && match->allowed_methods.empty()) {
    const std::vector<std::string> close = context_.router.CloseRoutes(request.path);
    const std::string hint = close.empty() ? "" : fmt::format("; did you mean {}?", fmt::join(close, " or "));
    // A path can be as long as a request line; the message need not be.
    return MakeError(404, "route_not_found",
                     fmt::format("no such route: {} {}{}", request.method, request.path.substr(0, 200), hint));
  }
  if (match->route == nullptr) {
    const std::string allowed = fmt::format("{}", fmt::join(match->allowed_methods, ", "));
    Response response;
    if (request.method == "OPTIONS") {
      response.status = 204;
      if (IsPreflight(request)) response.headers = AccessPolicy::PreflightHeaders(request, match->allowed_methods);
    } else {
      response = MakeError(
          405, "method_not_allowed",
          fmt::format("{} is not allowed on {}; use {}", request.method, request.path.substr(0, 200), allowed));
    }
    response.headers.Add("Allow", allowed);
    return response;
  }
  route_ = match->route;
  summary_.route = route_->pattern;
  request.route = route_->pattern;
  request.path_params = std::move(match->path_params);
  const bool has_body = parser_->body_length() != uint64_t{0};
  if (route_->web_socket) {
    std::optional<HandshakeError> error = CheckHandshake(request);
    if (!error && has_body) error = HandshakeError{400, "unexpected_body", "a request for a WebSocket has no body"};
    if (!error && request.method == "HEAD") error = HandshakeError{405, "method_not_allowed", "use GET"};
    if (!error) return std::nullopt;
    Response response = MakeError(error->status, std::move(error->code), std::move(error->message));
    if (error->status == 426) {
      response.headers.Add("Upgrade", "websocket");
      response.headers.Add("Sec-WebSocket-Version", "13");
    }
    return response;
  }
  if (has_body && route_->options.body_type == BodyType::kJson &&
      !IsJsonMediaType(request.headers.Get("Content-Type"))) {
    return MakeError(415, "unsupported_media_type",
                     fmt::format("the Content-Type is '{}'; {} takes application/json",
                                 request.headers.Get("Content-Type").substr(0, 100), route_->pattern));
  }
  return std::nullopt;
}

void Connection::OnRequestComplete() {
  if (ready_answer_) {
    QueueResponse(*std::exchange(ready_answer_, std::nullopt));
    return Flush();
  }
  if (route_->web_socket) return OpenWebSocket();
  StartExchange();
}

// The connection ends and its socket goes on as a WebSocket, which is counted in its place.
void Connection::OpenWebSocket() {
  if (!in_.empty()) return FailRequest(400, "early_data", "bytes were sent before the WebSocket was open");
  const std::shared_ptr<Connection> self = shared_from_this();
  closed_ = true;
  timer_.cancel();
  socket_.CancelWaits();
  summary_.status = 101;
  ReportExchange(/*disconnected=*/false);
  io_thread_.connections.erase(self);
  WebSocketSession::Open(context_, io_thread_, std::move(socket_), route_->web_socket, std::move(parser_->request()),
                         extra_fields_);
}

void Connection::StartExchange() {
  phase_ = Phase::kAnswering;
  exchange_ = std::make_shared<Exchange>(StreamLimits{context_.options.max_buffered_bytes});
  exchange_->Attach(this);
  if (peer_eof_) exchange_->Disconnect();
  HandlerCall call{*route_, std::move(parser_->request()), Responder(exchange_)};
  if (route_->options.run_on == RunOn::kIoThread) return RunHandler(std::move(call));
  // std::function copies, a request is not copied: hence the shared pointer, which only the closure holds.
  auto shared_call = std::make_shared<HandlerCall>(std::move(call));
  const Responder responder = shared_call->responder;
  if (context_.workers.Post([shared_call] { RunHandler(std::move(*shared_call)); })) return;
  Response response = MakeError(503, "overloaded", "too many requests are waiting; try again soon");
  response.headers.Add("Retry-After", "1");
  responder.Send(std::move(response));
}

void Connection::FailRequest(int status, std::string code, std::string message) {
  wants_keep_alive_ = false;
  QueueResponse(MakeError(status, std::move(code), std::move(message)));
  Flush();
}

Response Connection::MakeError(int status, std::string code, std::string message) const {
  HttpError error{status, std::move(code), std::move(message), summary_.path, summary_.request_id};
  return context_.options.error_formatter(error);
}

Connection::Clock::time_point Connection::Deadline() const {
  const Timeouts& timeouts = context_.options.timeouts;
  TimePoint deadline = TimePoint::max();
  if (!out_.empty()) deadline = last_write_ + timeouts.slow_reader;
  if (congested_since_ != TimePoint::max()) deadline = std::min(deadline, congested_since_ + timeouts.slow_reader);
  if (phase_ == Phase::kLingering) return std::min(deadline, linger_since_ + timeouts.linger);
  if (phase_ != Phase::kReading) return deadline;
  if (!socket_.established()) return std::min(deadline, idle_since_ + timeouts.handshake);
  if (!parser_->started()) return std::min(deadline, idle_since_ + timeouts.idle);
  if (!parser_->header_done()) return std::min(deadline, started_at_ + timeouts.header);
  return std::min({deadline, last_read_ + timeouts.body_idle, body_since_ + timeouts.body_total});
}

// Deadlines mostly move away, so an armed timer that fires too early only looks again; it is set anew only for an
// earlier one.
void Connection::ArmTimer() {
  if (closed_) return;
  const TimePoint deadline = Deadline();
  if (deadline >= timer_at_) return;
  timer_at_ = deadline;
  timer_.expires_at(deadline);
  timer_.async_wait([self = shared_from_this()](error_code error) {
    if (!error) self->Guarded(&Connection::OnTimer);
  });
}

void Connection::OnTimer() {
  timer_at_ = TimePoint::max();
  const TimePoint now = Clock::now();
  if (now >= Deadline()) OnTimeout(now);
  ArmTimer();
}

void Connection::OnTimeout(TimePoint now) {
  const Timeouts& timeouts = context_.options.timeouts;
  const bool stalled = !out_.empty() && now >= last_write_ + timeouts.slow_reader;
  const bool congested = congested_since_ != TimePoint::max() && now >= congested_since_ + timeouts.slow_reader;
  if (stalled || congested) {
    LogDebug("{} reads too slowly: closed with {} bytes unsent", remote_address_, out_bytes_);
    return Abort();
  }
  if (phase_ != Phase::kReading || !parser_->started()) return Close();
  if (!parser_->header_done()) return FailRequest(408, "header_timeout", "the request header took too long to arrive");
  FailRequest(408, "body_timeout", "the request body took too long to arrive");
}

void Connection::ReportExchange(bool disconnected) {
  if (!context_.options.on_exchange_end) return;
  summary_.remote_address = remote_address_;
  summary_.disconnected = disconnected;
  summary_.duration = Clock::now() - started_at_;
  context_.options.on_exchange_end(summary_);
}

}  // namespace lem::http
