// The sending half of Connection: from an exchange's output to the socket.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <ctime>
#include <span>
#include <utility>

#include "http/connection.h"
#include "http/response_head.h"

namespace lem::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

// Small pieces are joined up to this size, so that a thousand waiting tokens are one buffer and not a thousand.
constexpr size_t kJoinBytes = 16 << 10;
// Buffers handed to the kernel in one call.
constexpr size_t kMaxBuffers = 16;

// The Date field's value, made once a second on each I/O thread.
const std::string& CurrentDate() {
  thread_local std::time_t made_at = 0;
  thread_local std::string date;
  const std::time_t now = std::time(nullptr);
  if (now != made_at || date.empty()) {
    made_at = now;
    date = HttpDate(now);
  }
  return date;
}

bool HasNoBody(int status) { return status < 200 || status == 204 || status == 304; }

}  // namespace

void Connection::OnWake() {
  if (closed_ || !exchange_) return;
  Exchange::Output output = exchange_->Take();
  if (output.response && output.streaming) {
    if (peer_eof_) return Close();
    QueueStreamHead(*output.response);
  }
  if (output.abandoned) {
    // A stream that is cut must look cut: no last chunk.
    if (streaming_) return Close();
    output.response = MakeError(500, "no_answer", "the server failed to answer this request");
    output.finished = true;
  }
  if (output.response && !output.streaming) {
    QueueResponse(std::move(*output.response));
  } else {
    if (!output.bytes.empty()) QueueStreamBytes(std::move(output.bytes));
    if (output.finished) {
      if (chunked_ && !head_only_) QueueBytes("0\r\n\r\n");
      EndAnswer();
    }
  }
  Flush();
  WatchRead();
  ArmTimer();
}

void Connection::QueueResponse(Response response) {
  const bool keep_alive = KeepAlive();
  if (!keep_alive) wants_keep_alive_ = false;
  const BodyFraming framing = HasNoBody(response.status) ? BodyFraming::kNone : BodyFraming::kLength;
  const ConnectionField field = !keep_alive ? ConnectionField::kClose
                                : http11_   ? ConnectionField::kNone
                                            : ConnectionField::kKeepAlive;
  QueueBytes(SerializeHead(response, extra_fields_, framing, response.body.size(), field, CurrentDate()));
  summary_.status = response.status;
  if (framing == BodyFraming::kLength && !head_only_) {
    summary_.sent_bytes = response.body.size();
    QueueBytes(std::move(response.body));
  }
  EndAnswer();
}

void Connection::QueueStreamHead(const Response& head) {
  streaming_ = true;
  chunked_ = http11_;
  if (!chunked_ && !head_only_) wants_keep_alive_ = false;
  const bool keep_alive = KeepAlive();
  if (!keep_alive) wants_keep_alive_ = false;
  const ConnectionField field = !keep_alive ? ConnectionField::kClose
                                : http11_   ? ConnectionField::kNone
                                            : ConnectionField::kKeepAlive;
  const BodyFraming framing = chunked_ ? BodyFraming::kChunked : BodyFraming::kUntilClose;
  QueueBytes(SerializeHead(head, extra_fields_, framing, 0, field, CurrentDate()));
  summary_.status = head.status;
}

void Connection::QueueStreamBytes(std::string bytes) {
  if (head_only_) return;
  summary_.sent_bytes += bytes.size();
  if (chunked_) {
    QueueBytes(fmt::format("{:x}\r\n", bytes.size()));
    QueueBytes(std::move(bytes));
    QueueBytes("\r\n");
  } else {
    QueueBytes(std::move(bytes));
  }
}

void Connection::QueueBytes(std::string bytes) {
  if (bytes.empty()) return;
  if (out_.empty()) last_write_ = Clock::now();
  out_bytes_ += bytes.size();
  if (!out_.empty() && out_.back().size() + bytes.size() <= kJoinBytes) {
    out_.back() += bytes;
  } else {
    out_.push_back(std::move(bytes));
  }
}

// The last byte of the answer is queued.
void Connection::EndAnswer() {
  ReportExchange(/*disconnected=*/false);
  if (exchange_) exchange_->Detach();
  exchange_.reset();
  phase_ = Phase::kFlushing;
}

void Connection::Flush() {
  while (!out_.empty() && !write_watched_ && !closed_) {
    std::array<asio::const_buffer, kMaxBuffers> buffers;
    size_t skip = front_sent_;
    const size_t num_buffers = std::min(kMaxBuffers, out_.size());
    for (size_t i = 0; i < num_buffers; ++i) {
      buffers[i] = asio::buffer(out_[i]) + skip;
      skip = 0;
    }
    error_code error;
    size_t num_sent = socket_.WriteSome(std::span(buffers).first(num_buffers), error);
    if (error == asio::error::would_block || error == asio::error::interrupted) {
      write_watched_ = true;
      socket_.WaitToWrite([self = shared_from_this()](error_code wait_error) {
        self->write_watched_ = false;
        if (!wait_error) self->Guarded(&Connection::OnWritable);
      });
      break;
    }
    if (error) return Close();
    last_write_ = Clock::now();
    out_bytes_ -= num_sent;
    for (num_sent += front_sent_; !out_.empty() && num_sent >= out_.front().size(); out_.pop_front()) {
      num_sent -= out_.front().size();
    }
    front_sent_ = num_sent;
  }
  if (closed_) return;
  const bool congested = exchange_ && out_bytes_ > context_.options.slow_reader_bytes;
  if (!congested) congested_since_ = Clock::time_point::max();
  if (congested && congested_since_ == Clock::time_point::max()) congested_since_ = Clock::now();
  if (exchange_) exchange_->SetUnsentBytes(out_bytes_);
  if (out_.empty() && phase_ == Phase::kFlushing) OnFlushed();
}

void Connection::OnWritable() {
  Flush();
  WatchRead();
  ArmTimer();
}

void Connection::OnFlushed() {
  const bool no_more_requests = peer_eof_ && in_.empty();
  if (no_more_requests) return Close();
  if (!KeepAlive()) return Linger();
  parser_ = std::make_unique<RequestParser>(context_.options.limits);
  route_ = nullptr;
  summary_ = {};
  extra_fields_ = {};
  head_only_ = streaming_ = chunked_ = false;
  http11_ = true;
  idle_since_ = started_at_ = Clock::now();
  phase_ = Phase::kReading;
  ProcessInput();
}

// After a request that was not read to its end: ends the sending side and waits for the client's end. Closing with
// unread bytes would reset the connection and could destroy an answer that the client has not read yet.
void Connection::Linger() {
  if (peer_eof_ || (parser_->complete() && in_.empty())) return Close();
  socket_.EndWriting();
  phase_ = Phase::kLingering;
  linger_since_ = Clock::now();
  in_ = {};
}

void Connection::Close() {
  if (closed_) return;
  closed_ = true;
  // What is cut off must look cut off.
  if (out_.empty() && !exchange_) socket_.EndTls();
  socket_.Close();
  timer_.cancel();
  if (exchange_) {
    exchange_->Detach();
    exchange_->Disconnect();
    exchange_.reset();
    ReportExchange(/*disconnected=*/true);
  }
  out_.clear();
  io_thread_.connections.erase(shared_from_this());
  context_.ConnectionClosed();
}

}  // namespace lem::http
