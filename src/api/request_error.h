// Why a client's request is refused, before a dialect puts it into its own error shape. Plain data.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "base/status.h"

namespace lem {

struct RequestError {
  Status status;      // the code decides the HTTP status; the message is for people
  std::string param;  // the field at fault: "messages[0].content"; empty = none
  std::string code;   // for programs: "invalid_type"; empty = the name of the status code
};

// An error as a dialect writes it; the server's table of errors says the type (server/error_mapping.h).
struct WireError {
  std::string type;  // "invalid_request_error"
  std::string message;
  std::string param;       // empty = none
  std::string code;        // empty = none
  std::string request_id;  // empty = not known
};

template <typename T>
using ParseResult = tl::expected<T, RequestError>;

}  // namespace lem
