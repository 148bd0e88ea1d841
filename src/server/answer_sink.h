// Where the messages of an answer go: the body of an HTTP response, a stream of it, or a WebSocket.
//
// Used by one thread at a time; calls the function of OnGone from any.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/answer_writer.h"
#include "http/responder.h"
#include "server/error_mapping.h"

namespace lem {

class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  // Calls `callback` when the client goes before the answer is complete; at once if it has gone. It must be quick.
  virtual void OnGone(std::function<void()> callback) = 0;

  // An answer that comes piece by piece: BeginStream, then Put and Flush, then EndStream.
  virtual void BeginStream(http::Headers headers, StreamFraming framing) = 0;
  virtual void Put(const WireMessages& messages) = 0;
  // Sends what was put. False: the client has gone.
  virtual bool Flush() = 0;
  // Something that clients do not take for a message of the answer; `ping` is the dialect's own, and may be empty.
  virtual void KeepAlive(const WireMessages& ping) = 0;
  virtual void EndStream() = 0;

  // An answer that is one message. Instead of a stream.
  virtual void SendBody(std::string body, http::Headers headers) = 0;
  virtual void SendError(const RequestError& error, const ErrorDialect& dialect) = 0;

  // Bytes that were put and not sent; bytes that were sent and that the client has not taken.
  virtual size_t pending_bytes() const = 0;
  virtual size_t buffered_bytes() const = 0;
};

std::unique_ptr<AnswerSink> MakeHttpSink(http::Responder responder, std::string request_id);

}  // namespace lem
