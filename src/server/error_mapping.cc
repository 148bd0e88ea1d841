#include "server/error_mapping.h"

#include <algorithm>
#include <cmath>

#include "api/anthropic/message_response.h"
#include "api/ollama/response.h"
#include "api/openai/envelope.h"

namespace lem {
namespace {

// Client closed request: nginx's number, for there is no standard one. Nobody reads it but the log.
constexpr int kClientClosedRequest = 499;
constexpr double kLongestRetryAfter = 3600;

constexpr ErrorMapping kMappings[] = {
    {StatusCode::kOk, 200, 0},
    {StatusCode::kCancelled, kClientClosedRequest, 0},
    {StatusCode::kUnknown, 500, 0},
    {StatusCode::kInvalidArgument, 400, 0},
    {StatusCode::kDeadlineExceeded, 504, 0},
    {StatusCode::kNotFound, 404, 0},
    {StatusCode::kAlreadyExists, 409, 0},
    {StatusCode::kPermissionDenied, 403, 0},
    {StatusCode::kResourceExhausted, 429, 1},  // a queue of requests empties in seconds
    {StatusCode::kFailedPrecondition, 409, 0},
    {StatusCode::kAborted, 409, 1},
    {StatusCode::kOutOfRange, 400, 0},
    {StatusCode::kUnimplemented, 501, 0},
    {StatusCode::kInternal, 500, 0},
    {StatusCode::kUnavailable, 503, 2},  // a model is loaded in about that time
    {StatusCode::kDataLoss, 500, 0},
    {StatusCode::kUnauthenticated, 401, 0},
};

std::string OpenAiType(int http_status) {
  switch (http_status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 429:
      return "rate_limit_error";
    default:
      return http_status >= 500 ? "server_error" : "invalid_request_error";
  }
}

http::Response MakeResponse(int http_status, int retry_after_s, const WireError& error, const ErrorDialect& dialect) {
  http::Response response = http::Response::Json(http_status, dialect.write(error));
  if (retry_after_s > 0) response.headers.Add("Retry-After", std::to_string(retry_after_s));
  // OpenAI's clients try again after every 409 and 5xx unless they are told that it is of no use.
  if (retry_after_s == 0 && (http_status == 409 || http_status >= 500)) {
    response.headers.Add("x-should-retry", "false");
  }
  return response;
}

}  // namespace

const ErrorDialect kOpenAiErrors = {OpenAiType, openai::WriteError};
const ErrorDialect kAnthropicErrors = {anthropic::ErrorType, anthropic::WriteError};
const ErrorDialect kOllamaErrors = {OpenAiType, ollama::WriteError};

const ErrorDialect& ErrorDialectOf(std::string_view path) {
  if (path.starts_with("/v1/messages") || path.starts_with("/messages")) return kAnthropicErrors;
  if (path.starts_with("/api/")) return kOllamaErrors;
  return kOpenAiErrors;
}

const ErrorMapping& MappingOf(StatusCode code) { return *std::ranges::find(kMappings, code, &ErrorMapping::code); }

WireError ToWireError(const RequestError& error, const ErrorDialect& dialect, std::string_view request_id) {
  return {dialect.type_of(MappingOf(error.status.code()).http_status), error.status.message(), error.param,
          error.code.empty() ? std::string(StatusCodeName(error.status.code())) : error.code, std::string(request_id)};
}

http::Response ErrorResponse(const RequestError& error, const ErrorDialect& dialect, std::string_view request_id) {
  const ErrorMapping& mapping = MappingOf(error.status.code());
  // What the engine knows is better than what is usual.
  const int known = static_cast<int>(std::ceil(std::min(error.status.retry_after_s(), kLongestRetryAfter)));
  return MakeResponse(mapping.http_status, known > 0 ? known : mapping.retry_after_s,
                      ToWireError(error, dialect, request_id), dialect);
}

http::Response ErrorResponse(const http::HttpError& error) {
  const ErrorDialect& dialect = ErrorDialectOf(error.path);
  const int retry_after_s = error.status == 429 || error.status == 503 ? 1 : 0;
  return MakeResponse(error.status, retry_after_s,
                      {dialect.type_of(error.status), error.message, "", error.code, error.request_id}, dialect);
}

}  // namespace lem
