// The default shape of the server's own errors.
#include "base/json.h"
#include "http/options.h"

namespace lem::http {
namespace {

std::string_view ErrorType(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

}  // namespace

Response FormatErrorAsJson(const HttpError& error) {
  JsonWriter writer;
  writer.BeginObject().Key("error").BeginObject();
  writer.Key("message").String(error.message);
  writer.Key("type").String(ErrorType(error.status));
  writer.Key("param").Null();
  writer.Key("code").String(error.code);
  writer.EndObject().EndObject();
  return Response::Json(error.status, writer.Take());
}

}  // namespace lem::http
