// What an error is on each outside surface: one table from status codes to HTTP status and dialect. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "api/request_error.h"
#include "http/message.h"
#include "http/options.h"

namespace lem {

struct ErrorMapping {
  StatusCode code;
  int http_status;
  int retry_after_s;  // for the Retry-After field; 0 = the same request will fail again
};
const ErrorMapping& MappingOf(StatusCode code);

// How one dialect shows errors; one constant a dialect.
struct ErrorDialect {
  std::string (*type_of)(int http_status);
  std::string (*write)(const WireError& error);
};
extern const ErrorDialect kOpenAiErrors;
extern const ErrorDialect kAnthropicErrors;
extern const ErrorDialect kOllamaErrors;

// The dialect of a path's routes, which need not exist.
const ErrorDialect& ErrorDialectOf(std::string_view path);

WireError ToWireError(const RequestError& error, const ErrorDialect& dialect, std::string_view request_id);
http::Response ErrorResponse(const RequestError& error, const ErrorDialect& dialect, std::string_view request_id);
// Errors of the HTTP server itself (routing, limits, access).
http::Response ErrorResponse(const http::HttpError& error);

}  // namespace lem
