// Requests as bytes: however they are split the parser finds the same request, within its limits.
#include <algorithm>
#include <string>

#include "base/check.h"
#include "http/access_policy.h"
#include "http/request_parser.h"

using lem::http::RequestParser;

// Feeds `input` in pieces of at most `piece` bytes; true if that makes a whole request.
static bool Parse(RequestParser& parser, std::string_view input, size_t piece) {
  std::string waiting;
  for (;;) {
    size_t num_consumed = 0;
    const auto progress = parser.Feed(waiting, num_consumed);
    waiting.erase(0, num_consumed);
    if (progress == RequestParser::Progress::kComplete) return true;
    if (progress == RequestParser::Progress::kHeaderDone) continue;
    if (progress == RequestParser::Progress::kError || input.empty()) return false;
    waiting += input.substr(0, piece);
    input.remove_prefix(std::min(piece, input.size()));
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const lem::http::MessageLimits limits{
      .max_header_bytes = 1024, .max_request_line_bytes = 256, .max_num_headers = 16, .max_body_bytes = 4096};
  RequestParser whole(limits), split(limits);
  const bool complete = Parse(whole, input, size + 1);
  LEM_CHECK(Parse(split, input, 1 + size % 7) == complete);
  const lem::http::Request &a = whole.request(), &b = split.request();
  LEM_CHECK(!complete || (a.method == b.method && a.path == b.path && a.query == b.query && a.body == b.body));
  LEM_CHECK(a.headers.size() <= limits.max_num_headers && a.body.size() <= limits.max_body_bytes);
  const lem::http::AccessPolicy policy({{"*.lan"}, {"app://*"}});
  if (complete && !policy.Check(a, whole.authority(), "127.0.0.1")) policy.CorsHeaders(a);
  return 0;
}
