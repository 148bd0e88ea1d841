#include "http/response_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

namespace lem::http {
namespace {

bool IsServersOwn(std::string_view name) {
  constexpr std::array<std::string_view, 4> kNames = {"Connection", "Content-Length", "Date", "Transfer-Encoding"};
  return std::any_of(kNames.begin(), kNames.end(),
                     [name](std::string_view own) { return EqualsIgnoreCase(own, name); });
}

void AppendField(std::string& out, std::string_view name, std::string_view value) {
  const auto append = [&out](std::string_view text) {
    std::transform(text.begin(), text.end(), std::back_inserter(out),
                   [](char c) { return c == '\r' || c == '\n' || c == '\0' ? ' ' : c; });
  };
  append(name);
  out += ": ";
  append(value);
  out += "\r\n";
}

}  // namespace

std::string HttpDate(std::time_t unix_s) {
  // strftime would write the names of the process's locale.
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm utc{};
  ::gmtime_r(&unix_s, &utc);
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", kDays[utc.tm_wday], utc.tm_mday, kMonths[utc.tm_mon],
                     utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

std::string SerializeHead(const Response& response, const Headers& extra_fields, BodyFraming framing,
                          uint64_t body_length, ConnectionField connection, std::string_view date) {
  std::string out = fmt::format("HTTP/1.1 {} {}\r\n", response.status, StatusPhrase(response.status));
  for (const auto& [name, value] : response.headers) {
    if (!IsServersOwn(name)) AppendField(out, name, value);
  }
  for (const auto& [name, value] : extra_fields) AppendField(out, name, value);
  AppendField(out, "Date", date);
  if (framing == BodyFraming::kLength) out += fmt::format("Content-Length: {}\r\n", body_length);
  if (framing == BodyFraming::kChunked) out += "Transfer-Encoding: chunked\r\n";
  if (connection == ConnectionField::kClose) out += "Connection: close\r\n";
  if (connection == ConnectionField::kKeepAlive) out += "Connection: keep-alive\r\n";
  out += "\r\n";
  return out;
}

}  // namespace lem::http
