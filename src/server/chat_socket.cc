#include "server/chat_socket.h"

#include <fmt/format.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "api/openai/chat_request.h"
#include "api/openai/chat_response.h"
#include "server/error_mapping.h"
#include "server/openai_handlers.h"

namespace lem {
namespace {

// More than a client with several conversations needs, and few enough to be no way around the limits on connections.
constexpr size_t kMaxAnswers = 32;
constexpr size_t kMaxRequestIdBytes = 128;

// Thread-safe.
class ChatSocket final : public http::WebSocketListener, public std::enable_shared_from_this<ChatSocket> {
 public:
  ChatSocket(const HandlerContext& context, http::Request handshake, std::shared_ptr<http::WebSocket> socket)
      : context_(context), handshake_(std::move(handshake)), socket_(std::move(socket)) {}

  void OnText(std::string text) override;
  void OnBinary() override {
    SendError("", {InvalidArgument("binary messages are not taken here: send text messages with JSON"), "",
                   "binary_message"});
  }
  void OnClosed() override {
    CancelWhere([](const Active&) { return true; });
  }
  void OnDrain() override {
    const std::lock_guard lock(mutex_);
    if (active_.empty()) CloseForShutdown();
  }

  // For the sinks of answers.
  bool Send(const std::string& tag, const std::string& data) const;
  void SendError(const std::string& tag, const RequestError& error) const;
  size_t buffered_bytes() const { return socket_->buffered_bytes(); }
  void SetGone(uint64_t number, std::function<void()> gone);
  // The answer is complete, and its last messages are about to be sent: it can no longer be cancelled.
  void Forget(uint64_t number);
  // They have been sent, or never will be.
  void Ended(uint64_t number);

 private:
  struct Active {
    std::string tag;       // the client's request_id; may be empty
    std::string chunk_id;  // of the answer
    std::function<void()> gone;
    bool cancelled = false;
  };

  void Answer(const JsonObject& body, const std::string& tag);
  ParseResult<AnswerSetup> SetUp(const http::Request& request, const JsonObject& body, std::string& chunk_id) const;
  void Cancel(const JsonObject& message);
  template <typename Predicate>
  size_t CancelWhere(Predicate matches);
  void CloseForShutdown() const { socket_->Close(http::CloseCode::kGoingAway, "the server is shutting down"); }

  const HandlerContext& context_;
  const http::Request handshake_;
  const std::shared_ptr<http::WebSocket> socket_;  // shared with the session
  std::mutex mutex_;
  uint64_t num_requests_ = 0;          // guarded by mutex_
  std::map<uint64_t, Active> active_;  // guarded by mutex_; by number of the request
};

class SocketSink final : public AnswerSink {
 public:
  SocketSink(std::shared_ptr<ChatSocket> socket, uint64_t number, std::string tag)
      : socket_(std::move(socket)), number_(number), tag_(std::move(tag)) {}
  ~SocketSink() override { socket_->Ended(number_); }

  void OnGone(std::function<void()> callback) override { socket_->SetGone(number_, std::move(callback)); }
  void BeginStream(http::Headers /*headers*/, StreamFraming /*framing*/) override {}
  void Put(const WireMessages& messages) override {
    for (const WireMessage& message : messages) {
      pending_bytes_ += message.data.size();
      pending_.push_back(message.data);
    }
  }
  bool Flush() override {
    bool there = true;
    for (const std::string& data : pending_) there = there && socket_->Send(tag_, data);
    pending_.clear();
    pending_bytes_ = 0;
    return there;
  }
  // The socket pings by itself.
  void KeepAlive(const WireMessages& /*ping*/) override {}
  void EndStream() override {
    socket_->Forget(number_);
    Flush();
  }
  void SendBody(std::string body, http::Headers /*headers*/) override {
    socket_->Forget(number_);
    socket_->Send(tag_, body);
    socket_->Send(tag_, "[DONE]");
  }
  void SendError(const RequestError& error, const ErrorDialect& /*dialect*/) override {
    socket_->Forget(number_);
    socket_->SendError(tag_, error);
  }
  size_t pending_bytes() const override { return pending_bytes_; }
  size_t buffered_bytes() const override { return socket_->buffered_bytes(); }

 private:
  const std::shared_ptr<ChatSocket> socket_;  // shared with the session and the other answers
  const uint64_t number_;
  const std::string tag_;
  std::vector<std::string> pending_;
  size_t pending_bytes_ = 0;
};

void ChatSocket::OnText(std::string text) {
  Result<JsonValue> json = ParseJson(text);
  if (!json.ok()) return SendError("", {json.status(), "", "invalid_json"});
  auto* body = json->if_object();
  if (body == nullptr) {
    return SendError("", {InvalidArgument("the message is {}; allowed: an object with model and messages",
                                          json->is_array() ? "an array" : "no object"),
                          "", "invalid_type"});
  }
  const auto* type = body->if_contains("type");
  if (type != nullptr && *type == "cancel") return Cancel(*body);
  std::string tag;
  if (const auto* id = body->if_contains("request_id"); id != nullptr && !id->is_null()) {
    if (!id->is_string() || id->get_string().size() > kMaxRequestIdBytes) {
      return SendError("", {InvalidArgument("request_id must be a string of at most {} bytes", kMaxRequestIdBytes),
                            "request_id", "invalid_type"});
    }
    tag = std::string(id->get_string().data(), id->get_string().size());
  }
  // Chunks are what a socket is for; a body that wants one object says so.
  if (!body->contains("stream")) (*body)["stream"] = true;
  Answer(*body, tag);
}

ParseResult<AnswerSetup> ChatSocket::SetUp(const http::Request& request, const JsonObject& body,
                                           std::string& chunk_id) const {
  auto chat = openai::ParseChatRequest(body);
  if (!chat) return tl::unexpected(chat.error());
  auto model = FindReadyModel(context_.service, chat->options.model);
  if (!model) return tl::unexpected(model.error());
  const RequestOptions options = chat->options;
  auto setup = SetUpChat(context_.ForRequest(request), *model, *std::move(chat));
  if (!setup) return setup;
  openai::Envelope envelope = MakeEnvelope("chatcmpl-", *model);
  chunk_id = envelope.id;
  setup->writer = openai::MakeChatWriter(std::move(envelope), options);
  return setup;
}

void ChatSocket::Answer(const JsonObject& body, const std::string& tag) {
  http::Request request = handshake_;
  request.received_at = Clock::now();
  uint64_t number = 0;
  bool is_full = false;
  {
    const std::lock_guard lock(mutex_);
    number = ++num_requests_;
    is_full = active_.size() >= kMaxAnswers;
    if (!is_full) active_[number].tag = tag;
  }
  if (is_full) {
    return SendError(
        tag, {ResourceExhausted("{} answers are under way on this socket; wait for one to end", kMaxAnswers), "",
              "too_many_answers"});
  }
  request.request_id = fmt::format("{}-{}", handshake_.request_id, number);
  // From here on the sink's end takes the answer out of the active ones.
  auto sink = std::make_unique<SocketSink>(shared_from_this(), number, tag);
  std::string chunk_id;
  auto setup = SetUp(request, body, chunk_id);
  if (!setup) return sink->SendError(setup.error(), kOpenAiErrors);
  {
    const std::lock_guard lock(mutex_);
    active_[number].chunk_id = std::move(chunk_id);
  }
  context_.Answer(*std::move(setup), std::move(sink), kOpenAiErrors, request);
}

void ChatSocket::Cancel(const JsonObject& message) {
  const auto* id = message.if_contains("id");
  if (id == nullptr) id = message.if_contains("request_id");
  if (id == nullptr || id->is_null()) {
    CancelWhere([](const Active&) { return true; });
    return;
  }
  const auto* text = id->if_string();
  const std::string wanted = text == nullptr ? "" : std::string(text->data(), text->size());
  const size_t num_found = CancelWhere(
      [&](const Active& active) { return !wanted.empty() && (active.tag == wanted || active.chunk_id == wanted); });
  if (num_found == 0) {
    SendError("", {NotFound("no answer with the id {} is under way", JsonQuote(wanted)), "id", "answer_not_found"});
  }
}

template <typename Predicate>
size_t ChatSocket::CancelWhere(Predicate matches) {
  std::vector<std::function<void()>> gone;
  size_t num_found = 0;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [number, active] : active_) {
      if (!matches(active)) continue;
      ++num_found;
      active.cancelled = true;
      if (active.gone) gone.push_back(std::exchange(active.gone, nullptr));
    }
  }
  for (const auto& callback : gone) callback();
  return num_found;
}

bool ChatSocket::Send(const std::string& tag, const std::string& data) const {
  if (tag.empty() || !data.starts_with('{')) return socket_->Send(data);
  return socket_->Send(fmt::format(R"({{"request_id":{},{})", JsonQuote(tag), std::string_view(data).substr(1)));
}

void ChatSocket::SendError(const std::string& tag, const RequestError& error) const {
  Send(tag, kOpenAiErrors.write(ToWireError(error, kOpenAiErrors, handshake_.request_id)));
}

void ChatSocket::SetGone(uint64_t number, std::function<void()> gone) {
  {
    const std::lock_guard lock(mutex_);
    Active& active = active_[number];
    if (!active.cancelled) {
      active.gone = std::move(gone);
      return;
    }
  }
  gone();
}

void ChatSocket::Forget(uint64_t number) {
  std::function<void()> dropped;  // destroyed after the mutex
  const std::lock_guard lock(mutex_);
  const auto found = active_.find(number);
  if (found == active_.end()) return;
  dropped = std::move(found->second.gone);
  active_.erase(found);
}

void ChatSocket::Ended(uint64_t number) {
  const std::lock_guard lock(mutex_);
  active_.erase(number);
  if (active_.empty() && socket_->draining()) CloseForShutdown();
}

}  // namespace

http::WebSocketHandler MakeChatSocketHandler(const HandlerContext& context) {
  return [&context](const http::Request& request, std::shared_ptr<http::WebSocket> socket) {
    return std::make_shared<ChatSocket>(context, request, std::move(socket));
  };
}

}  // namespace lem
