// Private to http/: one client's connection. It lives on one I/O thread, which alone touches its state; only Wake
// comes from other threads. Sockets are non-blocking and used by readiness (wait, then read or write what goes), so an
// idle connection holds no buffers, and the end of the client is noticed also while nothing is being written.
//
// A request's way: read -> RequestParser -> access, route and content checks (at the end of the header) -> body ->
// handler with an Exchange -> output queue -> socket. The next pipelined request is looked at when the output is out.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "http/access_policy.h"
#include "http/exchange.h"
#include "http/options.h"
#include "http/request_parser.h"
#include "http/router.h"
#include "http/socket.h"
#include "http/worker_pool.h"

namespace lem::http {

class Connection;
class WebSocketSession;

// What the connections of one server share. Thread-safe.
struct ServerContext {
  ServerContext(ServerOptions options_in, Router router_in);

  std::string NewRequestId();
  void ConnectionClosed();

  const ServerOptions options;
  const Router router;
  const AccessPolicy access;
  WorkerPool workers;
  const uint64_t request_id_seed;
  std::atomic<uint64_t> num_request_ids{0};
  // Shared with handles of web sockets, which outlive the server.
  const std::shared_ptr<std::atomic<bool>> draining = std::make_shared<std::atomic<bool>>(false);

  std::mutex mutex;
  std::condition_variable connection_closed;
  size_t num_connections = 0;  // guarded by mutex
};

// One event loop and what belongs to it. Members are touched by its own thread while that runs.
struct IoThread {
  static constexpr size_t kScratchBytes = 64 << 10;

  boost::asio::io_context context{1};
  std::unordered_set<std::shared_ptr<Connection>> connections;        // shared with their own pending callbacks
  std::unordered_set<std::shared_ptr<WebSocketSession>> web_sockets;  // shared with the same
  std::vector<char> scratch = std::vector<char>(kScratchBytes);       // every read goes through it
  std::thread thread;
};

enum class Admission { kServe, kRefuse };

class Connection final : public ExchangeSink, public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  // kRefuse: too many connections; each request is answered with 503. The context and the thread outlive it.
  Connection(ServerContext& context, IoThread& io_thread, Socket socket, std::string bound_host, Admission admission);
  ~Connection();

  void Start();
  // No more requests: closes now if none is under way, else after it.
  void BeginDrain();
  // Closes at once; a request under way is broken off.
  void Abort();

  void Wake() override;

 private:
  enum class Phase {
    kReading,    // idle, or a request is coming in
    kAnswering,  // a handler owes the answer; bytes that come are the next request's
    kFlushing,   // the answer is complete and on its way out
    kLingering,  // half closed by us; what still comes is thrown away
  };

  // Input.
  void WatchRead();
  void OnReadable();
  void OnPeerEof();
  void ProcessInput();
  void OnHeader();
  std::optional<Response> AnswerFromHeader(const Request& request);
  std::optional<Response> AnswerFromRoute(Request& request);
  void OnRequestComplete();
  void StartExchange();
  void OpenWebSocket();
  void FailRequest(int status, std::string code, std::string message);
  Response MakeError(int status, std::string code, std::string message) const;

  // Output.
  void OnWake();
  void QueueResponse(Response response);
  void QueueStreamHead(const Response& head);
  void QueueStreamBytes(std::string bytes);
  void QueueBytes(std::string bytes);
  void EndAnswer();
  void Flush();
  void OnWritable();
  void OnFlushed();
  void Linger();
  void Close();
  void ReportExchange(bool disconnected);

  // Time.
  Clock::time_point Deadline() const;
  void ArmTimer();
  void OnTimer();
  void OnTimeout(Clock::time_point now);

  bool KeepAlive() const;
  // Runs a step of the event loop, unless closed; nothing that it throws gets out.
  void Guarded(void (Connection::*step)());

  ServerContext& context_;
  IoThread& io_thread_;
  Socket socket_;
  const std::string bound_host_;
  const Admission admission_;
  std::string remote_address_;

  Phase phase_ = Phase::kReading;
  bool closed_ = false;
  bool peer_eof_ = false;
  bool read_watched_ = false;
  bool write_watched_ = false;
  bool processing_ = false;  // inside ProcessInput: do not enter it again

  // The request under way.
  std::string in_;  // read and not yet parsed
  std::unique_ptr<RequestParser> parser_;
  const Route* route_ = nullptr;
  std::optional<Response> ready_answer_;  // known from the header alone; sent when the body is in
  Headers extra_fields_;                  // of the response: request id, CORS
  std::shared_ptr<Exchange> exchange_;    // shared with the handler's handles
  bool head_only_ = false;                // HEAD
  bool wants_keep_alive_ = false;
  bool http11_ = true;
  bool streaming_ = false;
  bool chunked_ = false;
  Clock::time_point started_at_;  // of the request's first byte
  ExchangeSummary summary_;

  // Bytes for the socket; the first front_sent_ of the front are out. out_bytes_ are left.
  std::deque<std::string> out_;
  size_t front_sent_ = 0;
  size_t out_bytes_ = 0;
  size_t lingered_bytes_ = 0;

  boost::asio::steady_timer timer_;
  Clock::time_point timer_at_ = Clock::time_point::max();  // when the armed timer fires
  Clock::time_point idle_since_;
  Clock::time_point last_read_;
  Clock::time_point body_since_;
  Clock::time_point last_write_;
  Clock::time_point linger_since_;
  Clock::time_point congested_since_ = Clock::time_point::max();  // out_bytes_ over slow_reader_bytes since then
};

}  // namespace lem::http
