// Private to http/: one open WebSocket over Beast. It lives on the I/O thread of the connection that it was, which
// alone touches the socket; Send and Close of the handle come from any thread and only post.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "http/message.h"
#include "http/socket.h"
#include "http/web_socket.h"

namespace lem::http {

struct ServerContext;
struct IoThread;

// What is wrong with a request to open a WebSocket; nullopt if it is one. `status` is 426 if it is none at all.
struct HandshakeError {
  int status = 400;
  std::string code, message;
};
std::optional<HandshakeError> CheckHandshake(const Request& request);

class WebSocketSession : public std::enable_shared_from_this<WebSocketSession> {
 public:
  // Takes the socket over and answers the handshake. The session keeps itself alive until the socket is closed; it
  // counts as a connection of the context until then. REQUIRES: on the I/O thread; CheckHandshake(request) is nullopt.
  static void Open(ServerContext& context, IoThread& io_thread, Socket socket, const WebSocketHandler& handler,
                   Request request, Headers response_fields);

  virtual ~WebSocketSession() = default;
  // On the I/O thread.
  virtual void BeginDrain() = 0;
  virtual void Abort() = 0;
};

}  // namespace lem::http
