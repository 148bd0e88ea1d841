// Private to http/: a client's connection, over TCP or a Unix socket, with TLS on it or without. It does not block and
// is used by readiness: wait, then read or write what goes. Not thread-safe.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "http/tls.h"

namespace lem::http {

class Socket {
 public:
  using Native = boost::asio::generic::stream_protocol::socket;
  using executor_type = Native::executor_type;

  explicit Socket(Native native);

  // The client must speak TLS. REQUIRES: nothing was read or written.
  Status StartTls(std::shared_ptr<const TlsContext> context);
  // False until the handshake of TLS is done, which happens while reading.
  bool established() const { return tls_ == nullptr || tls_->established(); }

  // What goes without waiting. Errors: would_block, eof, and those of the system.
  size_t ReadSome(boost::asio::mutable_buffer into, boost::system::error_code& error);
  size_t WriteSome(std::span<const boost::asio::const_buffer> from, boost::system::error_code& error);

  // Call the handler with an error_code when ReadSome, or WriteSome, is worth another try.
  template <typename Handler>
  void WaitToRead(Handler&& handler) {
    native_.async_wait(read_waits_for_, std::forward<Handler>(handler));
  }
  template <typename Handler>
  void WaitToWrite(Handler&& handler) {
    native_.async_wait(write_waits_for_, std::forward<Handler>(handler));
  }
  void CancelWaits();

  // Nothing more will be written; with TLS the client is told that what it got is whole.
  void EndWriting();
  // As the first half of it: for a connection that is closed after a whole answer.
  void EndTls();
  void Close();

  executor_type get_executor() { return native_.get_executor(); }
  // "127.0.0.1:40312", "[::1]:40312", "unix"; "unknown" if the client is gone.
  std::string RemoteAddress() const;

 private:
  Native native_;
  Native::wait_type read_waits_for_ = Native::wait_read;
  Native::wait_type write_waits_for_ = Native::wait_write;
  std::unique_ptr<TlsSession> tls_;  // null: none; ends before the socket
};

}  // namespace lem::http
