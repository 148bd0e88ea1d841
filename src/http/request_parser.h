// Private to http/: incremental HTTP/1.x request parser. Boost.Beast's parser does the grammar; this adds the limits,
// the errors and the checks that Beast leaves to the caller. One parser, one request. Not thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"
#include "http/options.h"

namespace lem::http {

// Why a request cannot be answered normally.
struct ParseError {
  int status = 400;
  std::string code;
  std::string message;
};

class RequestParser {
 public:
  enum class Progress {
    kNeedMore,
    kHeaderDone,  // reported once, before any of the body is taken; body_length() may be over the limit
    kComplete,
    kError,  // error() says why; the parser is spent
  };

  explicit RequestParser(const MessageLimits& limits);
  ~RequestParser();

  // Takes bytes from the front of `input` and says how many and where the request stands. The untaken rest must be
  // offered again, with more behind it after kNeedMore.
  Progress Feed(std::string_view input, size_t& num_consumed);

  // True once the first byte of a request has been seen (empty lines before it do not count).
  bool started() const { return started_; }
  bool header_done() const { return header_done_; }
  bool complete() const;
  const ParseError& error() const { return error_; }

  // REQUIRES: header_done(), for all below.
  bool keep_alive() const;
  bool http11() const;
  // Content-Length, or nullopt for a chunked body; 0 without a body.
  std::optional<uint64_t> body_length() const;
  // method, target, path, query, headers are set; the body grows until kComplete.
  Request& request();
  // Host of an absolute-form target, else "".
  const std::string& authority() const;
  // Throws the body away from now on (the request is refused but its bytes must be read).
  void DiscardBody();

 private:
  class Impl;

  Progress Fail(int status, std::string code, std::string message);
  Progress FailBodyTooLarge();
  Progress FinishHeader();

  const MessageLimits limits_;
  std::unique_ptr<Impl> impl_;
  bool started_ = false;
  bool header_done_ = false;
  ParseError error_;
};

}  // namespace lem::http
