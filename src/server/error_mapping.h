// What an error is on each outside surface: one table from status codes to HTTP status and dialect. Pure functions.
#pragma once

#include <string>

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

WireError ToWireError(const RequestError& error, const ErrorDialect& dialect);
http::Response ErrorResponse(const RequestError& error, const ErrorDialect& dialect);
// Errors of the HTTP server itself (routing, limits, access).
http::Response ErrorResponse(const http::HttpError& error, const ErrorDialect& dialect);

}  // namespace lem
