// WebSockets (RFC 6455) as handlers see them. A route that takes them is added by Router::AddWebSocket.
//
// Messages of a client come one at a time, on a worker; the next one is read when OnText has returned, so a client that
// sends faster than it is served is held back by TCP. Pings, fragments, UTF-8, masks and close codes are the server's
// part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "http/message.h"

namespace lem::http {

// Why a WebSocket is closed (RFC 6455, 7.4).
enum class CloseCode : uint16_t {
  kNormal = 1000,
  kGoingAway = 1001,
  kUnsupportedData = 1003,
  kPolicyViolation = 1008,
  kTryAgainLater = 1013,
};

// The server's end of an open WebSocket. Thread-safe; does nothing when the socket is closed.
class WebSocket {
 public:
  virtual ~WebSocket() = default;
  // Queues a text message. False: the socket is closed, or the client was given up because it does not read.
  virtual bool Send(std::string text) = 0;
  // Sends what is queued, then closes.
  virtual void Close(CloseCode code, std::string reason) = 0;
  // Bytes that the client's TCP connection has not taken.
  virtual size_t buffered_bytes() const = 0;
  // The server is shutting down: close when what is under way is done.
  virtual bool draining() const = 0;
};

// What a handler does with one WebSocket.
class WebSocketListener {
 public:
  virtual ~WebSocketListener() = default;
  // On a worker.
  virtual void OnText(std::string text) = 0;
  virtual void OnBinary() = 0;
  // On an I/O thread: the socket is closed. The last call.
  virtual void OnClosed() = 0;
  // On an I/O thread: the server is shutting down. Closes the socket now or when what is under way is done.
  virtual void OnDrain() = 0;
};

// Makes the listener of a socket that is being opened. On an I/O thread: must be quick.
using WebSocketHandler =
    std::function<std::shared_ptr<WebSocketListener>(const Request& request, std::shared_ptr<WebSocket> socket)>;

}  // namespace lem::http
