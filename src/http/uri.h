// The pieces of a request that this program parses itself: targets, queries, authorities, origins. Pure functions over
// the client's bytes; malformed input is an empty result or an InvalidArgument that says what is wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace lem::http {

// Without spaces and tabs at both ends.
std::string_view TrimSpace(std::string_view text);

// RFC 9110 token: at least one of the characters that a method or a field name may have.
bool IsToken(std::string_view text);

// %41 -> A. nullopt for a broken escape and for a NUL, encoded or not.
std::optional<std::string> PercentDecode(std::string_view text);

// A request-target taken apart (RFC 9112, 3.2). Views point into the target.
struct TargetParts {
  std::string_view authority;  // only in absolute form: "host:port"
  std::string_view path;       // "/a/b" or "*", still encoded
  std::string_view query;      // after '?', still encoded
};

// Origin form, absolute form (http, https) and "*". Errors: InvalidArgument (authority form, fragment, control or
// non-ASCII characters, no leading slash).
Result<TargetParts> SplitTarget(std::string_view target);

// "/v1//models/" -> "/v1/models"; "/" stays.
std::string NormalizePath(std::string_view path);

// "a=1&b=%20&c" -> {a,1} {b," "} {c,""}; '+' is a space. Errors: InvalidArgument (broken escape, too many parameters).
Result<std::vector<std::pair<std::string, std::string>>> ParseQuery(std::string_view query);

// Host field or authority: "example.com:80", "127.0.0.1", "[::1]:5366".
struct Authority {
  std::string host;  // lower case, without brackets and trailing dot
  bool is_ip = false;
  bool is_loopback = false;      // localhost, 127.0.0.0/8, ::1, or ::ffff:127.0.0.0/104
  std::optional<uint16_t> port;  // if given
};
std::optional<Authority> ParseAuthority(std::string_view text);

// Origin field: scheme://host[:port]. "null" and malformed ones give nullopt.
struct Origin {
  std::string scheme;  // lower case
  Authority authority;
};
std::optional<Origin> ParseOrigin(std::string_view text);

}  // namespace lem::http
