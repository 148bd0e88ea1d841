#include "server/answer_sink.h"

#include <utility>

#include "http/sse.h"

namespace lem {
namespace {

http::Headers JsonLinesHeaders() {
  return {{"Content-Type", "application/x-ndjson"}, {"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
}

class HttpSink final : public AnswerSink {
 public:
  HttpSink(http::Responder responder, std::string request_id)
      : responder_(std::move(responder)), request_id_(std::move(request_id)) {}

  void OnGone(std::function<void()> callback) override { responder_.OnDisconnect(std::move(callback)); }

  void BeginStream(http::Headers headers, StreamFraming framing) override {
    is_lines_ = framing == StreamFraming::kJsonLines;
    http::Headers all = is_lines_ ? JsonLinesHeaders() : http::SseHeaders();
    for (const auto& [name, value] : headers) all.Add(name, value);
    stream_ = responder_.StartStream(200, std::move(all));
  }

  void Put(const WireMessages& messages) override {
    for (const WireMessage& message : messages) {
      out_ += is_lines_ ? message.data + '\n' : http::SseEvent(message.data, message.event);
    }
  }

  bool Flush() override {
    if (out_.empty()) return true;
    const bool there = stream_->Write(out_);
    out_.clear();
    return there;
  }

  void KeepAlive(const WireMessages& ping) override {
    Put(ping);
    // A blank before the next line's JSON is no line of its own.
    if (out_.empty()) out_ = is_lines_ ? " " : http::SseComment("still here");
  }

  void EndStream() override {
    Flush();
    stream_->Finish();
  }

  void SendBody(std::string body, http::Headers headers) override {
    http::Response response = http::Response::Json(200, std::move(body));
    for (const auto& [name, value] : headers) response.headers.Add(name, value);
    responder_.Send(std::move(response));
  }

  void SendError(const RequestError& error, const ErrorDialect& dialect) override {
    responder_.Send(ErrorResponse(error, dialect, request_id_));
  }

  size_t pending_bytes() const override { return out_.size(); }
  size_t buffered_bytes() const override { return stream_ ? stream_->buffered_bytes() : 0; }

 private:
  const http::Responder responder_;
  const std::string request_id_;
  bool is_lines_ = false;
  std::shared_ptr<http::EventStream> stream_;  // shared with the connection; null until BeginStream
  std::string out_;
};

}  // namespace

std::unique_ptr<AnswerSink> MakeHttpSink(http::Responder responder, std::string request_id) {
  return std::make_unique<HttpSink>(std::move(responder), std::move(request_id));
}

}  // namespace lem
