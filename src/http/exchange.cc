#include "http/exchange.h"

#include <utility>

#include "base/log.h"
#include "http/responder.h"

namespace lem::http {

void Exchange::WakeLocked() {
  if (sink_ == nullptr || wake_pending_) return;
  wake_pending_ = true;
  sink_->Wake();
}

void Exchange::Send(Response response) {
  std::function<void()> dropped;  // destroyed after the mutex: it may own the last handle of something
  const std::lock_guard lock(mutex_);
  if (state_ != State::kUnanswered) {
    if (!disconnected_) LogError("a handler answered a request twice; the second answer is dropped");
    return;
  }
  state_ = State::kFinished;
  output_.response = std::move(response);
  output_.finished = true;
  dropped = std::exchange(on_disconnect_, nullptr);
  WakeLocked();
}

void Exchange::StartStream(Response head) {
  const std::lock_guard lock(mutex_);
  if (state_ != State::kUnanswered) {
    LogError("a handler started a stream for a request that is already answered");
    return;
  }
  state_ = State::kStreaming;
  output_.response = std::move(head);
  output_.streaming = true;
  WakeLocked();
}

bool Exchange::Write(std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  if (state_ != State::kStreaming || disconnected_) return false;
  if (output_.bytes.size() + unsent_bytes_ + bytes.size() > limits_.max_buffered_bytes) {
    state_ = State::kAbandoned;
    output_.abandoned = true;
    WakeLocked();
    return false;
  }
  output_.bytes += bytes;
  WakeLocked();
  return true;
}

void Exchange::Finish() {
  std::function<void()> dropped;
  const std::lock_guard lock(mutex_);
  if (state_ != State::kStreaming) return;
  state_ = State::kFinished;
  output_.finished = true;
  dropped = std::exchange(on_disconnect_, nullptr);
  WakeLocked();
}

void Exchange::DropResponder() {
  std::function<void()> dropped;
  const std::lock_guard lock(mutex_);
  if (state_ != State::kUnanswered) return;
  state_ = State::kAbandoned;
  output_.abandoned = true;
  dropped = std::exchange(on_disconnect_, nullptr);
  WakeLocked();
}

void Exchange::DropStream() {
  std::function<void()> dropped;
  const std::lock_guard lock(mutex_);
  if (state_ != State::kStreaming) return;
  state_ = State::kAbandoned;
  output_.abandoned = true;
  dropped = std::exchange(on_disconnect_, nullptr);
  WakeLocked();
}

void Exchange::OnDisconnect(std::function<void()> callback) {
  std::function<void()> replaced;
  {
    const std::lock_guard lock(mutex_);
    if (state_ == State::kFinished) return;
    if (!disconnected_) {
      replaced = std::exchange(on_disconnect_, std::move(callback));
      return;
    }
  }
  callback();
}

bool Exchange::disconnected() const {
  const std::lock_guard lock(mutex_);
  return disconnected_;
}

size_t Exchange::buffered_bytes() const {
  const std::lock_guard lock(mutex_);
  return output_.bytes.size() + unsent_bytes_;
}

void Exchange::Attach(ExchangeSink* sink) {
  const std::lock_guard lock(mutex_);
  sink_ = sink;
}

Exchange::Output Exchange::Take() {
  const std::lock_guard lock(mutex_);
  wake_pending_ = false;
  unsent_bytes_ += output_.bytes.size();
  return std::exchange(output_, Output{});
}

void Exchange::SetUnsentBytes(size_t unsent) {
  const std::lock_guard lock(mutex_);
  unsent_bytes_ = unsent;
}

void Exchange::Disconnect() {
  std::function<void()> callback;
  {
    const std::lock_guard lock(mutex_);
    if (disconnected_) return;
    disconnected_ = true;
    callback = std::exchange(on_disconnect_, nullptr);
  }
  if (callback) callback();
}

void Exchange::Detach() {
  const std::lock_guard lock(mutex_);
  sink_ = nullptr;
}

EventStream::EventStream(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
EventStream::~EventStream() { exchange_->DropStream(); }
bool EventStream::Write(std::string_view bytes) { return exchange_->Write(bytes); }
void EventStream::Finish() { exchange_->Finish(); }
size_t EventStream::buffered_bytes() const { return exchange_->buffered_bytes(); }

class Responder::Duty {
 public:
  explicit Duty(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~Duty() { exchange_->DropResponder(); }
  Duty(const Duty&) = delete;
  Duty& operator=(const Duty&) = delete;
  const std::shared_ptr<Exchange>& exchange() const { return exchange_; }

 private:
  const std::shared_ptr<Exchange> exchange_;  // shared with the connection
};

Responder::Responder(std::shared_ptr<Exchange> exchange) : duty_(std::make_shared<Duty>(std::move(exchange))) {}
void Responder::Send(Response response) const { duty_->exchange()->Send(std::move(response)); }
std::shared_ptr<EventStream> Responder::StartStream(int status, Headers headers) const {
  duty_->exchange()->StartStream({status, std::move(headers), ""});
  return std::make_shared<EventStream>(duty_->exchange());
}
void Responder::OnDisconnect(std::function<void()> callback) const {
  duty_->exchange()->OnDisconnect(std::move(callback));
}
bool Responder::disconnected() const { return duty_->exchange()->disconnected(); }

}  // namespace lem::http
