#include "http/request_parser.h"

#include <boost/beast/http/basic_parser.hpp>
#include <utility>

#include "http/uri.h"

namespace lem::http {
namespace {

namespace beast_http = boost::beast::http;
using ErrorCode = boost::beast::error_code;

// Beast's parser asserts that a buffer with the end of a chunked body has at least the 5 bytes of "0\r\n\r\n". While a
// chunked body is not complete at least that many are still to come, so waiting for them never waits in vain.
constexpr size_t kMinChunkedInput = 5;

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

// Receives what Beast finds and stores it in the request.
class RequestParser::Impl final : public beast_http::basic_parser<true> {
 public:
  explicit Impl(const MessageLimits& limits) : limits_(limits) {
    header_limit(limits.max_header_bytes);
    body_limit(boost::none);  // a length that is too large is for the caller to answer; chunks are counted here
  }

  Request request;
  std::string authority;
  bool discard_body = false;
  bool in_trailers = false;
  bool too_many_headers = false;
  bool http11 = false;

 private:
  void on_request_impl(beast_http::verb, boost::beast::string_view method, boost::beast::string_view target,
                       int version, ErrorCode&) override {
    request.method = View(method);
    request.target = View(target);
    http11 = version >= 11;
  }
  void on_field_impl(beast_http::field, boost::beast::string_view name, boost::beast::string_view value,
                     ErrorCode& error) override {
    if (++num_headers_ > limits_.max_num_headers) {
      too_many_headers = true;
      error = beast_http::error::header_limit;
      return;
    }
    // Fields after the body must not change what has been decided from those before it.
    if (!in_trailers) request.headers.Add(std::string(View(name)), std::string(View(value)));
  }
  void on_header_impl(ErrorCode&) override { in_trailers = true; }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, ErrorCode&) override {}
  std::size_t on_body_impl(boost::beast::string_view body, ErrorCode&) override {
    if (!discard_body) request.body.append(body.data(), body.size());
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t size, boost::beast::string_view, ErrorCode& error) override {
    if (size > limits_.max_body_bytes - num_chunked_bytes_)
      error = beast_http::error::body_limit;
    else
      num_chunked_bytes_ += size;
  }
  std::size_t on_chunk_body_impl(std::uint64_t, boost::beast::string_view body, ErrorCode&) override {
    if (!discard_body) request.body.append(body.data(), body.size());
    return body.size();
  }
  void on_finish_impl(ErrorCode&) override {}
  void on_response_impl(int, boost::beast::string_view, int, ErrorCode&) override {}

  const MessageLimits limits_;
  size_t num_headers_ = 0;
  uint64_t num_chunked_bytes_ = 0;  // announced so far; at most max_body_bytes
};

RequestParser::RequestParser(const MessageLimits& limits) : limits_(limits), impl_(std::make_unique<Impl>(limits)) {}
RequestParser::~RequestParser() = default;

bool RequestParser::complete() const { return header_done_ && impl_->is_done(); }
bool RequestParser::keep_alive() const { return impl_->keep_alive(); }
bool RequestParser::http11() const { return impl_->http11; }
std::optional<uint64_t> RequestParser::body_length() const {
  if (impl_->chunked()) return std::nullopt;
  const auto length = impl_->content_length();
  return length ? *length : 0;
}
Request& RequestParser::request() { return impl_->request; }
const std::string& RequestParser::authority() const { return impl_->authority; }
void RequestParser::DiscardBody() {
  impl_->discard_body = true;
  impl_->request.body = {};
}

RequestParser::Progress RequestParser::Fail(int status, std::string code, std::string message) {
  error_ = {status, std::move(code), std::move(message)};
  return Progress::kError;
}

RequestParser::Progress RequestParser::FailBodyTooLarge() {
  return Fail(413, "body_too_large",
              fmt::format("the request body is larger than the {} bytes allowed", limits_.max_body_bytes));
}

RequestParser::Progress RequestParser::Feed(std::string_view input, size_t& num_consumed) {
  num_consumed = 0;
  if (!started_) {
    // Empty lines before a request line are to be ignored (RFC 9112, 2.2).
    while (input.starts_with("\r\n")) {
      input.remove_prefix(2);
      num_consumed += 2;
    }
    if (input.empty() || input == "\r") return Progress::kNeedMore;
    started_ = true;
  }
  if (complete()) return Progress::kComplete;
  if (input.empty()) return Progress::kNeedMore;
  if (!header_done_ && impl_->request.method.empty() &&
      input.substr(0, limits_.max_request_line_bytes).find("\r\n") == std::string_view::npos &&
      input.size() >= limits_.max_request_line_bytes) {
    return Fail(414, "uri_too_long",
                fmt::format("the request line is longer than {} bytes", limits_.max_request_line_bytes));
  }
  if (header_done_ && impl_->chunked() && input.size() < kMinChunkedInput) return Progress::kNeedMore;

  impl_->eager(header_done_);
  ErrorCode error;
  const size_t num_taken = impl_->put(boost::asio::const_buffer(input.data(), input.size()), error);
  num_consumed += num_taken;
  if (error == beast_http::error::need_more) {
    // Only a chunk header or trailers can be left over here; they get no more room than a header.
    if (input.size() - num_taken > limits_.max_header_bytes) {
      return Fail(431, "header_too_large",
                  fmt::format("a chunk's header or the trailers are longer than {} bytes", limits_.max_header_bytes));
    }
    return Progress::kNeedMore;
  }
  if (error == beast_http::error::header_limit) {
    if (impl_->too_many_headers) {
      return Fail(431, "too_many_headers",
                  fmt::format("the request has more than {} header fields", limits_.max_num_headers));
    }
    return Fail(431, "header_too_large",
                fmt::format("the request header is longer than {} bytes", limits_.max_header_bytes));
  }
  if (error == beast_http::error::body_limit) return FailBodyTooLarge();
  // Beast reports a line that does not end in CRLF as a bad version too.
  const std::string_view line = input.substr(0, input.find('\n'));
  const bool served_version =
      line.find(" HTTP/1.1") != std::string_view::npos || line.find(" HTTP/1.0") != std::string_view::npos;
  if (error == beast_http::error::bad_version && !served_version) {
    return Fail(505, "http_version_not_supported", "only HTTP/1.0 and HTTP/1.1 are served here");
  }
  if (error) return Fail(400, "bad_request", fmt::format("not a valid HTTP request: {}", error.message()));
  if (!header_done_ && impl_->is_header_done()) return FinishHeader();
  return impl_->is_done() ? Progress::kComplete : Progress::kNeedMore;
}

RequestParser::Progress RequestParser::FinishHeader() {
  Request& request = impl_->request;
  if (request.target.size() + request.method.size() > limits_.max_request_line_bytes) {
    return Fail(414, "uri_too_long",
                fmt::format("the request line is longer than {} bytes", limits_.max_request_line_bytes));
  }
  // Beast takes a body as chunked only if "chunked" is the last coding; any other coding is not served here, and a
  // message that could be framed in two ways is an attempt to smuggle a request.
  const size_t num_codings = request.headers.Count("Transfer-Encoding");
  if (num_codings > 0) {
    const bool plain_chunked =
        num_codings == 1 && EqualsIgnoreCase(TrimSpace(request.headers.Get("Transfer-Encoding")), "chunked");
    if (!plain_chunked || !impl_->chunked()) {
      return Fail(501, "transfer_encoding_not_supported", "the only Transfer-Encoding served here is 'chunked'");
    }
    if (!impl_->http11) return Fail(400, "bad_request", "an HTTP/1.0 request cannot have a Transfer-Encoding");
  }
  if (impl_->http11 && request.headers.Count("Host") == 0) {
    return Fail(400, "bad_host", "an HTTP/1.1 request needs a Host field");
  }
  const Result<TargetParts> parts = SplitTarget(request.target);
  if (!parts.ok()) return Fail(400, "bad_target", parts.status().message());
  impl_->authority = parts->authority;
  request.path = NormalizePath(parts->path);
  auto query = ParseQuery(parts->query);
  if (!query.ok()) return Fail(400, "bad_query", query.status().message());
  request.query = *std::move(query);
  header_done_ = true;
  return Progress::kHeaderDone;
}

}  // namespace lem::http
