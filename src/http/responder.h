// The two handles by which a handler answers: Responder (once) and EventStream (piece by piece). Both are thread-safe
// and may be used from any thread, now or later, also after the client or the server has gone: then they do nothing.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>

#include "http/message.h"

namespace lem::http {

class Exchange;  // private: the mailbox between the answering threads and the connection's I/O thread

// A response whose length is not known beforehand, for example server-sent events. Destroying the last reference
// without Finish cuts the connection, so that the client sees a broken answer and not a short one.
class EventStream {
 public:
  explicit EventStream(std::shared_ptr<Exchange> exchange);
  ~EventStream();
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;

  // Queues bytes and returns at once. False: the client has gone, or was given up because it reads too slowly; stop
  // producing. Bytes are never dropped while it returns true.
  bool Write(std::string_view bytes);
  // The answer is complete. Later calls do nothing.
  void Finish();
  // Bytes not yet taken by the client's TCP connection: a producer that can pause does so when this grows.
  size_t buffered_bytes() const;

 private:
  const std::shared_ptr<Exchange> exchange_;  // shared with the connection
};

// The duty to answer one request; copies share it. If every copy goes unanswered the client gets a 500.
class Responder {
 public:
  explicit Responder(std::shared_ptr<Exchange> exchange);

  // REQUIRES: nothing has been answered yet. A second answer is logged and dropped.
  void Send(Response response) const;
  // Sends status and headers now; the body follows by the stream. REQUIRES: as Send.
  std::shared_ptr<EventStream> StartStream(int status, Headers headers) const;
  // Calls `callback` once, on the I/O thread, when the client goes (or the server closes the connection) before the
  // answer is complete; at once in this thread if that has happened. It must be quick and is dropped when the answer is
  // complete. One callback an exchange: a second call replaces the first. A client that only shuts down its sending
  // side counts as gone, but still gets a Response sent by Send.
  void OnDisconnect(std::function<void()> callback) const;
  bool disconnected() const;

 private:
  class Duty;
  std::shared_ptr<Duty> duty_;  // shared by the copies, so that the last one notices an unanswered request
};

}  // namespace lem::http
