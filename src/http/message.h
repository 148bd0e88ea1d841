// HTTP messages as handlers see them: headers, request, response. Plain data, no I/O; not thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lem::http {

// ASCII only, as field names and media types are.
bool EqualsIgnoreCase(std::string_view a, std::string_view b);

// Field names and values in the order they came. Names compare without case; a name may occur more than once.
class Headers {
 public:
  using Field = std::pair<std::string, std::string>;

  Headers() = default;
  Headers(std::initializer_list<Field> fields) : fields_(fields) {}

  void Add(std::string name, std::string value) { fields_.emplace_back(std::move(name), std::move(value)); }
  // In place of the values that there are.
  void Set(std::string_view name, std::string value);
  // The first value, or nullptr. Valid until the headers change.
  const std::string* Find(std::string_view name) const;
  // The first value, or "".
  std::string_view Get(std::string_view name) const;
  size_t Count(std::string_view name) const;

  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }
  size_t size() const { return fields_.size(); }

 private:
  std::vector<Field> fields_;
};

// A whole request. Text is the client's own bytes: escape it before it is shown.
struct Request {
  std::string method;  // "GET", upper case as sent
  std::string target;  // as sent: "/v1/models/a%2Fb?limit=3"
  std::string path;    // target without query, repeated and trailing slashes removed, still percent-encoded
  std::vector<std::pair<std::string, std::string>> query;        // decoded, in order
  std::vector<std::pair<std::string, std::string>> path_params;  // decoded, by the names in the route's pattern
  std::string route;                                             // pattern of the route that matched
  Headers headers;
  std::string body;
  std::string remote_address;  // "127.0.0.1:40312"
  std::string principal;       // who makes it, as ServerOptions::authorize said; "" = anyone
  std::string request_id;      // the client's X-Request-Id or a fresh one; unique enough for logs
  std::chrono::steady_clock::time_point received_at;  // when the header was complete

  // The decoded value of the first query parameter of that name.
  std::optional<std::string_view> QueryParam(std::string_view name) const;
  // REQUIRES: the route's pattern has {name}; "" otherwise.
  std::string_view PathParam(std::string_view name) const;
};

// What a handler answers. Content-Length, Date, Connection, X-Request-Id and CORS fields are the server's business.
struct Response {
  int status = 200;
  Headers headers;
  std::string body;

  static Response Json(int status, std::string body);
  static Response Text(int status, std::string body);
};

// "Not Found" for 404; "Unknown" for a number that has no phrase here.
std::string_view StatusPhrase(int status);

// "application/json" of "Application/JSON; charset=utf-8": lower case, without parameters; "" if it is not
// type/subtype.
std::string MediaType(std::string_view content_type);

// True for application/json and application/*+json.
bool IsJsonMediaType(std::string_view content_type);

}  // namespace lem::http
