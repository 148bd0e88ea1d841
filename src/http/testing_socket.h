// For tests only: a blocking TCP client that sends exactly the bytes it is told to, and a server on a free port.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "http/server.h"

namespace lem::http {

// Under sanitizers and on a loaded machine everything takes longer; waits that must end are this patient.
constexpr auto kPatience = std::chrono::seconds(20);

// A response as it came over the wire.
struct RawResponse {
  int status = 0;  // 0: the connection ended before a whole head
  Headers headers;
  std::string body;
  bool complete = false;  // the body ended as its framing says
};

class RawClient {
 public:
  explicit RawClient(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{std::chrono::seconds(kPatience).count(), 0};
    const int on = 1;
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  ~RawClient() { Close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  RawClient(RawClient&& other) noexcept : fd_(std::exchange(other.fd_, -1)), buffer_(std::move(other.buffer_)) {}

  // False if the connection is gone.
  bool Send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  void ShutdownWrite() const { ::shutdown(fd_, SHUT_WR); }
  void Close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  // Ends with RST instead of FIN.
  void Reset() {
    const linger hard{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    Close();
  }
  void SetReceiveBuffer(int bytes) const { ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)); }

  // More bytes into the buffer; false at the end of the connection.
  bool Fill() {
    char chunk[16384];
    const ssize_t n = ::recv(fd_, chunk, sizeof(chunk), 0);
    if (n <= 0) return false;
    buffer_.append(chunk, static_cast<size_t>(n));
    return true;
  }
  // Bytes up to and with `end`; what there is if the connection ends first.
  std::string ReadThrough(std::string_view end) {
    size_t at = 0;
    while ((at = buffer_.find(end)) == std::string::npos) {
      if (!Fill()) return std::exchange(buffer_, "");
    }
    return Take(at + end.size());
  }
  std::string ReadBytes(size_t size) {
    while (buffer_.size() < size && Fill()) {
    }
    return Take(std::min(size, buffer_.size()));
  }
  // Everything until the server closes.
  std::string ReadAll() {
    while (Fill()) {
    }
    return std::exchange(buffer_, "");
  }
  // True if the server has closed and nothing more came.
  bool AtEnd() { return buffer_.empty() && !Fill(); }

  RawResponse ReadResponse(bool head_only = false) {
    RawResponse response;
    const std::string head = ReadThrough("\r\n\r\n");
    if (!head.ends_with("\r\n\r\n") || !head.starts_with("HTTP/1.1 ")) return response;
    std::from_chars(head.data() + 9, head.data() + 12, response.status);
    size_t at = head.find("\r\n") + 2;
    while (at < head.size() - 2) {
      const size_t line_end = head.find("\r\n", at);
      const size_t colon = head.find(": ", at);
      response.headers.Add(head.substr(at, colon - at), head.substr(colon + 2, line_end - colon - 2));
      at = line_end + 2;
    }
    if (head_only || response.status == 204 || response.status == 100) {
      response.complete = true;
    } else if (response.headers.Get("Transfer-Encoding") == "chunked") {
      response.complete = ReadChunks(response.body);
    } else if (const std::string* length = response.headers.Find("Content-Length")) {
      response.body = ReadBytes(std::stoul(*length));
      response.complete = response.body.size() == std::stoul(*length);
    } else {
      response.body = ReadAll();
      response.complete = true;
    }
    return response;
  }
  // The next chunk's data; "" for the last one and for a broken one.
  std::string ReadChunk() {
    const std::string line = ReadThrough("\r\n");
    size_t size = 0;
    if (std::from_chars(line.data(), line.data() + line.size(), size, 16).ec != std::errc()) return "";
    std::string chunk = ReadBytes(size + 2);
    last_chunk_seen_ = size == 0 && chunk == "\r\n";
    return chunk.size() == size + 2 ? chunk.substr(0, size) : "";
  }
  RawResponse Request(std::string_view bytes) {
    Send(bytes);
    return ReadResponse();
  }

 private:
  bool ReadChunks(std::string& body) {
    for (std::string chunk = ReadChunk(); !chunk.empty(); chunk = ReadChunk()) body += chunk;
    return last_chunk_seen_;
  }
  std::string Take(size_t size) {
    std::string out = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return out;
  }

  int fd_;
  std::string buffer_;
  bool last_chunk_seen_ = false;
};

// "GET path" with a Host.
inline std::string Get(std::string_view path, std::string_view more_fields = "") {
  return fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", path, more_fields);
}
inline std::string Post(std::string_view path, std::string_view body, std::string_view more_fields = "") {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{}", path,
      body.size(), more_fields, body);
}

// True as soon as `condition` is, false after kPatience.
template <typename Condition>
bool Eventually(Condition condition) {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// A started server on a free loopback port.
class TestServer {
 public:
  explicit TestServer(Router router, ServerOptions options = {})
      : server_(std::make_unique<Server>(std::move(options), std::move(router))) {
    const Result<uint16_t> port = server_->Listen("127.0.0.1", 0);
    EXPECT_TRUE(port.ok()) << port.status().ToString();
    port_ = port.ok() ? *port : 0;
    EXPECT_TRUE(server_->Start().ok());
  }
  uint16_t port() const { return port_; }
  Server& server() { return *server_; }

 private:
  std::unique_ptr<Server> server_;
  uint16_t port_ = 0;
};

}  // namespace lem::http
