#include "http/socket.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <boost/asio/error.hpp>
#include <cstring>

namespace lem::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

template <int kFamily, typename Bytes>
std::string AddressText(const Bytes& bytes) {
  char text[INET6_ADDRSTRLEN] = "";
  return ::inet_ntop(kFamily, &bytes, text, sizeof(text)) == nullptr ? "unknown" : text;
}

// Copied, since an endpoint's bytes are of no certain type.
template <typename Address, typename Endpoint>
Address AddressOf(const Endpoint& endpoint) {
  Address address{};
  std::memcpy(&address, endpoint.data(), std::min<size_t>(sizeof(address), endpoint.size()));
  return address;
}

}  // namespace

Socket::Socket(Native native) : native_(std::move(native)) {}

Status Socket::StartTls(std::shared_ptr<const TlsContext> context) {
  LEM_ASSIGN_OR_RETURN(tls_, TlsSession::Make(std::move(context), native_.native_handle()));
  return OkStatus();
}

size_t Socket::ReadSome(asio::mutable_buffer into, error_code& error) {
  if (tls_ == nullptr) return native_.read_some(into, error);
  const TlsSession::Outcome outcome = tls_->Read({static_cast<char*>(into.data()), into.size()});
  read_waits_for_ = outcome.state == TlsSession::State::kWantWrite ? Native::wait_write : Native::wait_read;
  switch (outcome.state) {
    case TlsSession::State::kDone:
      error = {};
      return outcome.size_bytes;
    case TlsSession::State::kEnd:
      error = asio::error::eof;
      return 0;
    case TlsSession::State::kFailed:
      error = asio::error::connection_aborted;
      return 0;
    default:
      error = asio::error::would_block;
      return 0;
  }
}

size_t Socket::WriteSome(std::span<const asio::const_buffer> from, error_code& error) {
  if (tls_ == nullptr) return native_.write_some(from, error);
  error = {};
  size_t num_written = 0;
  for (const asio::const_buffer& buffer : from) {
    const std::string_view bytes(static_cast<const char*>(buffer.data()), buffer.size());
    size_t done = 0;
    while (done < bytes.size()) {
      const TlsSession::Outcome outcome = tls_->Write(bytes.substr(done));
      if (outcome.state == TlsSession::State::kDone) {
        done += outcome.size_bytes;
        continue;
      }
      const bool is_over = outcome.state == TlsSession::State::kFailed || outcome.state == TlsSession::State::kEnd;
      write_waits_for_ = outcome.state == TlsSession::State::kWantRead ? Native::wait_read : Native::wait_write;
      // What is written is told first; the next call says again why there was no more.
      if (num_written + done == 0) {
        error = is_over ? error_code(asio::error::connection_aborted) : error_code(asio::error::would_block);
      }
      return num_written + done;
    }
    num_written += done;
  }
  return num_written;
}

void Socket::CancelWaits() {
  error_code ignored;
  (void)native_.cancel(ignored);
}

void Socket::EndTls() {
  if (tls_ != nullptr) tls_->EndWriting();
}

void Socket::EndWriting() {
  EndTls();
  error_code ignored;
  (void)native_.shutdown(Native::shutdown_send, ignored);
}

void Socket::Close() {
  tls_.reset();
  error_code ignored;
  (void)native_.close(ignored);
}

std::string Socket::RemoteAddress() const {
  error_code error;
  const auto endpoint = native_.remote_endpoint(error);
  if (error) return "unknown";
  switch (endpoint.data()->sa_family) {
    case AF_INET: {
      const auto address = AddressOf<sockaddr_in>(endpoint);
      return fmt::format("{}:{}", AddressText<AF_INET>(address.sin_addr), ntohs(address.sin_port));
    }
    case AF_INET6: {
      const auto address = AddressOf<sockaddr_in6>(endpoint);
      return fmt::format("[{}]:{}", AddressText<AF_INET6>(address.sin6_addr), ntohs(address.sin6_port));
    }
    case AF_UNIX:
      return "unix";
    default:
      return "unknown";
  }
}

}  // namespace lem::http
