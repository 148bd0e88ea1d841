// Private to http/: the bytes before a response's body. Pure functions.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace lem::http {

// How the client finds the end of the body.
enum class BodyFraming { kLength, kChunked, kUntilClose, kNone };

enum class ConnectionField { kNone, kClose, kKeepAlive };

// "Sun, 06 Nov 1994 08:49:37 GMT".
std::string HttpDate(std::time_t unix_s);

// Status line, the response's own fields (without those that are the server's: Connection, Content-Length, Date,
// Transfer-Encoding), `extra_fields`, the server's fields, empty line. Line breaks in values become spaces, so that no
// value can add a field.
std::string SerializeHead(const Response& response, const Headers& extra_fields, BodyFraming framing,
                          uint64_t body_length, ConnectionField connection, std::string_view date);

}  // namespace lem::http
