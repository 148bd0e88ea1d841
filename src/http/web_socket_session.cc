#include "http/web_socket_session.h"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <deque>
#include <exception>
#include <mutex>
#include <span>
#include <utility>

#include "base/log.h"
#include "http/connection.h"
#include "http/uri.h"

namespace lem::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = boost::beast::websocket;
using boost::system::error_code;

// A base64 text of 16 bytes.
constexpr size_t kKeyLength = 24;
constexpr auto kHandshakeTime = std::chrono::seconds(10);
// A client that says nothing for this long is pinged at half of it, and closed if it does not answer.
constexpr auto kIdleTime = std::chrono::seconds(60);
// Larger reasons do not fit a control frame.
constexpr size_t kMaxReasonBytes = 120;

bool ListHas(std::string_view list, std::string_view wanted) {
  while (!list.empty()) {
    const size_t end = std::min(list.find(','), list.size());
    if (EqualsIgnoreCase(TrimSpace(list.substr(0, end)), wanted)) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

// A socket as Beast wants it.
class SocketStream {
 public:
  using executor_type = Socket::executor_type;

  explicit SocketStream(Socket socket) : socket_(std::move(socket)) {}
  executor_type get_executor() { return socket_.get_executor(); }
  void EndWriting() { socket_.EndWriting(); }
  void Close() { socket_.Close(); }

  template <typename Buffers, typename Handler>
  auto async_read_some(const Buffers& buffers, Handler&& handler) {
    const asio::mutable_buffer into = *asio::buffer_sequence_begin(buffers);
    const auto read = [this, into](error_code& error) { return socket_.ReadSome(into, error); };
    const auto wait = [this](auto&& next) { socket_.WaitToRead(std::forward<decltype(next)>(next)); };
    return asio::async_compose<Handler, void(error_code, size_t)>(Transfer(read, wait), handler, socket_);
  }

  template <typename Buffers, typename Handler>
  auto async_write_some(const Buffers& buffers, Handler&& handler) {
    std::array<asio::const_buffer, kMaxBuffers> from;
    size_t num_buffers = 0;
    for (auto it = asio::buffer_sequence_begin(buffers);
         it != asio::buffer_sequence_end(buffers) && num_buffers < kMaxBuffers; ++it) {
      from[num_buffers++] = *it;
    }
    const auto write = [this, from, num_buffers](error_code& error) {
      return socket_.WriteSome(std::span(from).first(num_buffers), error);
    };
    const auto wait = [this](auto&& next) { socket_.WaitToWrite(std::forward<decltype(next)>(next)); };
    return asio::async_compose<Handler, void(error_code, size_t)>(Transfer(write, wait), handler, socket_);
  }

 private:
  static constexpr size_t kMaxBuffers = 8;  // a frame is its head and its payload

  // Tries, waits while it would block, and never completes inside of the call that began it.
  template <typename Try, typename Wait>
  class Transfer {
   public:
    Transfer(Try try_once, Wait wait) : try_(std::move(try_once)), wait_(std::move(wait)) {}

    template <typename Self>
    void operator()(Self& self, error_code error = {}) {
      if (!error && !is_done_) {
        num_bytes_ = try_(result_);
        if (result_ == asio::error::would_block || result_ == asio::error::interrupted) {
          is_posted_ = true;
          const Wait wait = wait_;
          return wait(std::move(self));
        }
        is_done_ = true;
        if (!is_posted_) {
          is_posted_ = true;
          const auto executor = self.get_executor();
          return asio::post(executor, std::move(self));
        }
      }
      self.complete(error ? error : result_, num_bytes_);
    }

   private:
    Try try_;
    Wait wait_;
    bool is_done_ = false, is_posted_ = false;
    error_code result_;
    size_t num_bytes_ = 0;
  };

  Socket socket_;
};

// What Beast does with a stream when both sides have said goodbye, and when its time is up.
template <typename Handler>
void async_teardown(beast::role_type /*role*/, SocketStream& stream, Handler&& handler) {
  stream.EndWriting();
  asio::post(stream.get_executor(),
             [handler = std::forward<Handler>(handler)]() mutable { std::move(handler)(error_code()); });
}
void beast_close_socket(SocketStream& stream) { stream.Close(); }

class Session;

// The handle that listeners have. It outlives the session and the server.
//
// Invariant: session_ is set exactly while the socket is open. The session detaches itself on its I/O thread, before
// the server that it belongs to ends; a handle that posts does so with the mutex held and gives its reference away with
// the post, so that no other thread ever lets go of a session last.
class Handle final : public WebSocket {
 public:
  Handle(std::weak_ptr<Session> session, IoThread& io_thread, const ServerContext& context)
      : max_buffered_bytes_(context.options.max_buffered_bytes),
        draining_(context.draining),
        io_thread_(io_thread),
        session_(std::move(session)) {}

  bool Send(std::string text) override;
  void Close(CloseCode code, std::string reason) override;
  size_t buffered_bytes() const override { return buffered_bytes_.load(std::memory_order_relaxed); }
  bool draining() const override { return draining_->load(std::memory_order_relaxed); }

  // Of the session, on the I/O thread.
  void Sent(size_t bytes) { buffered_bytes_.fetch_sub(bytes, std::memory_order_relaxed); }
  void Detach() {
    const std::lock_guard lock(mutex_);
    session_.reset();
  }

 private:
  const size_t max_buffered_bytes_;
  const std::shared_ptr<const std::atomic<bool>> draining_;  // shared with the server, which may end before
  IoThread& io_thread_;                                      // there while the session is
  std::atomic<size_t> buffered_bytes_{0};
  std::mutex mutex_;
  std::weak_ptr<Session> session_;  // guarded by mutex_
};

class Session final : public WebSocketSession {
 public:
  Session(ServerContext& context, IoThread& io_thread, Socket socket)
      : context_(context), io_thread_(io_thread), stream_(std::move(socket)) {}

  void Begin(const WebSocketHandler& handler, Request request, Headers response_fields) {
    handle_ = std::make_shared<Handle>(Self(), io_thread_, context_);
    handler_ = handler;
    request_ = std::move(request);
    stream_.read_message_max(context_.options.limits.max_body_bytes);
    stream_.set_option(websocket::stream_base::timeout{kHandshakeTime, kIdleTime, /*keep_alive_pings=*/true});
    stream_.set_option(
        websocket::stream_base::decorator([fields = std::move(response_fields)](websocket::response_type& response) {
          for (const auto& [name, value] : fields) response.set(name, value);
        }));
    // Beast's read and close wait for each other when the client answers our close while a read is under way.
    stream_.control_callback(
        [weak = std::weak_ptr(Self())](websocket::frame_type type, beast::string_view /*payload*/) {
          const auto self = weak.lock();
          if (self == nullptr || type != websocket::frame_type::close || !self->close_sent_) return;
          asio::post(self->io_thread_.context, [self] { self->End(); });
        });
    beast::http::request<beast::http::empty_body> handshake(beast::http::verb::get, request_.target, 11);
    for (const char* name : {"Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"}) {
      handshake.set(name, std::string(request_.headers.Get(name)));
    }
    stream_.async_accept(handshake,
                         [self = Self()](const error_code& error) { self->Guarded(&Session::OnAccepted, error); });
  }

  void BeginDrain() override {
    if (listener_) {
      listener_->OnDrain();
    } else {
      Abort();
    }
  }

  void Abort() override { End(); }

  // On the I/O thread.
  void Queue(std::string text) {
    if (ended_ || closing_) return;
    out_.push_back(std::move(text));
    Write();
  }

  void CloseSoon(CloseCode code, const std::string& reason) {
    if (ended_ || closing_) return;
    closing_ = websocket::close_reason(static_cast<websocket::close_code>(code), reason.substr(0, kMaxReasonBytes));
    Write();
  }

 private:
  std::shared_ptr<Session> Self() { return std::static_pointer_cast<Session>(shared_from_this()); }

  // Runs a step; nothing that it throws gets out.
  void Guarded(void (Session::*step)(const error_code&), const error_code& error) {
    try {
      (this->*step)(error);
    } catch (const std::exception& exception) {
      LogError("WebSocket of {} closed: {}", request_.remote_address, exception.what());
      End();
    }
  }

  void OnAccepted(const error_code& error) {
    if (error) return End();
    listener_ = handler_(request_, handle_);
    stream_.text(true);
    stream_.auto_fragment(false);
    if (context_.draining->load(std::memory_order_relaxed)) listener_->OnDrain();
    Read();
  }

  void Read() {
    if (ended_) return;
    stream_.async_read(in_,
                       [self = Self()](const error_code& error, size_t) { self->Guarded(&Session::OnRead, error); });
  }

  void OnRead(const error_code& error) {
    if (error) return End();
    std::string message(static_cast<const char*>(in_.data().data()), in_.size());
    in_ = {};  // an idle socket keeps no buffer
    // The listener works on a worker and the next message is read when it is done.
    const bool is_text = stream_.got_text();
    auto work = [self = Self(), is_text, message = std::move(message)]() mutable {
      try {
        is_text ? self->listener_->OnText(std::move(message)) : self->listener_->OnBinary();
      } catch (const std::exception& exception) {
        LogError("handler of a WebSocket threw: {}", exception.what());
        self->handle_->Close(static_cast<CloseCode>(websocket::close_code::internal_error), "internal error");
      }
      asio::post(self->io_thread_.context, [self] { self->Guarded(&Session::OnHandled, {}); });
    };
    if (!context_.workers.Post(std::move(work))) CloseSoon(CloseCode::kTryAgainLater, "too many requests are waiting");
  }

  void OnHandled(const error_code& /*none*/) { Read(); }

  void Write() {
    if (writing_ || ended_) return;
    if (out_.empty()) {
      if (!closing_ || close_sent_) return;
      close_sent_ = true;
      return stream_.async_close(
          *closing_, [self = Self()](const error_code& error) { self->Guarded(&Session::OnCloseSent, error); });
    }
    writing_ = true;
    stream_.async_write(asio::buffer(out_.front()), [self = Self()](const error_code& error, size_t) {
      self->Guarded(&Session::OnWritten, error);
    });
  }

  void OnWritten(const error_code& error) {
    writing_ = false;
    if (error) return End();
    handle_->Sent(out_.front().size());
    out_.pop_front();
    Write();
  }

  // The client has answered, or never will.
  void OnCloseSent(const error_code& /*error*/) { End(); }

  void End() {
    if (std::exchange(ended_, true)) return;
    handle_->Detach();
    stream_.next_layer().Close();
    if (listener_) listener_->OnClosed();
    io_thread_.web_sockets.erase(shared_from_this());
    context_.ConnectionClosed();
  }

  ServerContext& context_;
  IoThread& io_thread_;
  websocket::stream<SocketStream> stream_;
  WebSocketHandler handler_;
  Request request_;
  std::shared_ptr<Handle> handle_;               // shared with the listener
  std::shared_ptr<WebSocketListener> listener_;  // shared with what works for it; null until the handshake is done
  beast::flat_buffer in_;
  std::deque<std::string> out_;
  std::optional<websocket::close_reason> closing_;  // set: nothing more is queued
  bool writing_ = false, close_sent_ = false, ended_ = false;
};

bool Handle::Send(std::string text) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Session> session = session_.lock();
  if (session == nullptr) return false;
  const size_t buffered = buffered_bytes_.fetch_add(text.size(), std::memory_order_relaxed) + text.size();
  if (buffered > max_buffered_bytes_) {
    session_.reset();
    asio::post(io_thread_.context, [session = std::move(session)] { session->Abort(); });
    return false;
  }
  asio::post(io_thread_.context,
             [session = std::move(session), text = std::move(text)]() mutable { session->Queue(std::move(text)); });
  return true;
}

void Handle::Close(CloseCode code, std::string reason) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Session> session = session_.lock();
  if (session == nullptr) return;
  asio::post(io_thread_.context,
             [session = std::move(session), code, reason = std::move(reason)] { session->CloseSoon(code, reason); });
}

}  // namespace

std::optional<HandshakeError> CheckHandshake(const Request& request) {
  if (!ListHas(request.headers.Get("Connection"), "Upgrade") || !ListHas(request.headers.Get("Upgrade"), "websocket")) {
    return HandshakeError{426, "upgrade_required", "this route is a WebSocket: ask for an upgrade to it"};
  }
  if (request.headers.Get("Sec-WebSocket-Version") != "13") {
    return HandshakeError{426, "websocket_version", "the Sec-WebSocket-Version must be 13"};
  }
  const std::string_view key = request.headers.Get("Sec-WebSocket-Key");
  const bool is_base64 = key.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") ==
                         std::string_view::npos;
  if (request.headers.Count("Sec-WebSocket-Key") != 1 || key.size() != kKeyLength || !key.ends_with("==") ||
      !is_base64) {
    return HandshakeError{400, "websocket_key", "the Sec-WebSocket-Key must be 16 bytes in base64"};
  }
  return std::nullopt;
}

void WebSocketSession::Open(ServerContext& context, IoThread& io_thread, Socket socket, const WebSocketHandler& handler,
                            Request request, Headers response_fields) {
  auto session = std::make_shared<Session>(context, io_thread, std::move(socket));
  io_thread.web_sockets.insert(session);
  session->Begin(handler, std::move(request), std::move(response_fields));
}

}  // namespace lem::http
