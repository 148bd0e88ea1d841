#include "http/uri.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace lem::http {
namespace {

// More than any client sends; each costs two strings.
constexpr size_t kMaxQueryParams = 256;
// Longest name in the DNS.
constexpr size_t kMaxHostLength = 253;

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool IsAlphaNumeric(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// Fills is_ip and is_loopback. `bracketed` says that the host stood in [].
bool ClassifyHost(Authority& authority, bool bracketed) {
  in6_addr v6{};
  in_addr v4{};
  if (bracketed) {
    if (::inet_pton(AF_INET6, authority.host.c_str(), &v6) != 1) return false;
    authority.is_ip = true;
    const bool mapped_loopback = IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127;
    authority.is_loopback = IN6_IS_ADDR_LOOPBACK(&v6) || mapped_loopback;
    return true;
  }
  if (::inet_pton(AF_INET, authority.host.c_str(), &v4) == 1) {
    authority.is_ip = true;
    authority.is_loopback = (ntohl(v4.s_addr) >> 24) == 127;
    return true;
  }
  if (authority.host.empty() || authority.host.size() > kMaxHostLength) return false;
  for (const char c : authority.host) {
    if (!IsAlphaNumeric(c) && c != '-' && c != '.' && c != '_') return false;
  }
  authority.is_loopback = authority.host == "localhost";
  return true;
}

}  // namespace

std::string_view TrimSpace(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return IsAlphaNumeric(c) || (c != '\0' && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr);
  });
}

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (text.size() - i < 3) return std::nullopt;
      const int high = HexDigit(text[i + 1]);
      const int low = HexDigit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return std::nullopt;
    out += c;
  }
  return out;
}

Result<TargetParts> SplitTarget(std::string_view target) {
  for (const char c : target) {
    if (c <= ' ' || c == 0x7f) return InvalidArgument("the request target has a character that must be %-encoded");
    if (c == '#') return InvalidArgument("the request target has a fragment (#), which clients must not send");
  }
  TargetParts parts;
  if (target == "*") {
    parts.path = target;
    return parts;
  }
  const size_t scheme_end = target.find("://");
  if (!target.starts_with('/') && scheme_end != std::string_view::npos) {
    const std::string scheme = Lower(target.substr(0, scheme_end));
    if (scheme != "http" && scheme != "https") {
      return InvalidArgument("the request target has a scheme that is not http or https");
    }
    target.remove_prefix(scheme_end + 3);
    const size_t authority_end = std::min(target.find_first_of("/?"), target.size());
    parts.authority = target.substr(0, authority_end);
    target.remove_prefix(authority_end);
    if (parts.authority.empty()) return InvalidArgument("the request target has no host after the scheme");
    if (target.empty() || target.front() == '?') {
      parts.path = "/";
      if (!target.empty()) parts.query = target.substr(1);
      return parts;
    }
  }
  if (!target.starts_with('/')) return InvalidArgument("the request target must begin with '/'");
  const size_t question = target.find('?');
  parts.path = target.substr(0, question);
  if (question != std::string_view::npos) parts.query = target.substr(question + 1);
  return parts;
}

std::string NormalizePath(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  for (const char c : path) {
    if (c == '/' && !out.empty() && out.back() == '/') continue;
    out += c;
  }
  if (out.size() > 1 && out.back() == '/') out.pop_back();
  return out;
}

Result<std::vector<std::pair<std::string, std::string>>> ParseQuery(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto decode = [](std::string_view text) {
    std::string spaced(text);
    std::replace(spaced.begin(), spaced.end(), '+', ' ');
    return PercentDecode(spaced);
  };
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view item = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (item.empty()) continue;
    if (out.size() == kMaxQueryParams) {
      return InvalidArgument("the query has more than {} parameters", kMaxQueryParams);
    }
    const size_t equals = item.find('=');
    std::optional<std::string> key = decode(item.substr(0, equals));
    std::optional<std::string> value =
        equals == std::string_view::npos ? std::string() : decode(item.substr(equals + 1));
    if (!key || !value) return InvalidArgument("the query has a broken %-escape; two hexadecimal digits must follow %");
    out.emplace_back(std::move(*key), std::move(*value));
  }
  return out;
}

std::optional<Authority> ParseAuthority(std::string_view text) {
  Authority authority;
  const bool bracketed = text.starts_with('[');
  std::string_view host;
  if (bracketed) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    host = text.substr(1, close - 1);
    text.remove_prefix(close + 1);
  } else {
    host = text.substr(0, text.find(':'));
    text.remove_prefix(host.size());
    if (host.ends_with('.')) host.remove_suffix(1);
  }
  if (!text.empty()) {
    if (text.front() != ':') return std::nullopt;
    text.remove_prefix(1);
    // "host:" without digits is allowed by RFC 3986.
    if (!text.empty()) {
      uint16_t port = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
      if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
      authority.port = port;
    }
  }
  if (host.find('\0') != std::string_view::npos) return std::nullopt;
  authority.host = Lower(host);
  if (!ClassifyHost(authority, bracketed)) return std::nullopt;
  return authority;
}

std::optional<Origin> ParseOrigin(std::string_view text) {
  const size_t scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos || !IsToken(text.substr(0, scheme_end))) return std::nullopt;
  std::optional<Authority> authority = ParseAuthority(text.substr(scheme_end + 3));
  if (!authority) return std::nullopt;
  return Origin{Lower(text.substr(0, scheme_end)), std::move(*authority)};
}

}  // namespace lem::http
