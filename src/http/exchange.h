// Private to http/: one request and its answer, as a mailbox between the threads that answer (Responder, EventStream)
// and the I/O thread of the connection. Answering threads put a response or pieces of a stream in and wake the
// connection; the connection takes everything that has gathered, so many small writes cost one wake-up and one send.
//
// Invariant: sink_ is set exactly while the connection wants this exchange's output; after Detach nothing reaches it,
// so an exchange may outlive its connection and its server. No callback is called with the mutex held.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace lem::http {

// The connection as an exchange sees it.
class ExchangeSink {
 public:
  // Asks the I/O thread to Take soon. Called from any thread with the exchange's mutex held: must only post.
  virtual void Wake() = 0;

 protected:
  ~ExchangeSink() = default;
};

// The cap on bytes buffered for a client that does not read; beyond it the stream is given up.
struct StreamLimits {
  size_t max_buffered_bytes = size_t{16} << 20;
};

class Exchange {
 public:
  // What has gathered since the last Take.
  struct Output {
    std::optional<Response> response;  // whole answer, or the head of a stream if `streaming`
    bool streaming = false;
    std::string bytes;       // of the stream's body
    bool finished = false;   // the answer is complete
    bool abandoned = false;  // dropped unanswered, cut short or overflowed: cannot be completed
  };

  explicit Exchange(StreamLimits limits) : limits_(limits) {}

  // Answering side, any thread.
  void Send(Response response);
  void StartStream(Response head);
  bool Write(std::string_view bytes);
  void Finish();
  // The last handle was dropped: an unanswered exchange becomes a 500, an unfinished stream is cut.
  void DropResponder();
  void DropStream();
  void OnDisconnect(std::function<void()> callback);
  bool disconnected() const;
  size_t buffered_bytes() const;

  // Connection's side, I/O thread.
  void Attach(ExchangeSink* sink);
  Output Take();
  // Bytes of this exchange that the connection holds and the socket has not taken.
  void SetUnsentBytes(size_t unsent);
  // The client has gone or the answer is given up: calls the callback if the answer is not complete.
  void Disconnect();
  // The connection wants no more: the answer is on its way or the connection is gone.
  void Detach();

 private:
  enum class State { kUnanswered, kStreaming, kFinished, kAbandoned };

  void WakeLocked();

  const StreamLimits limits_;
  mutable std::mutex mutex_;
  ExchangeSink* sink_ = nullptr;
  State state_ = State::kUnanswered;
  Output output_;
  bool wake_pending_ = false;
  bool disconnected_ = false;
  size_t unsent_bytes_ = 0;
  std::function<void()> on_disconnect_;
};

}  // namespace lem::http
