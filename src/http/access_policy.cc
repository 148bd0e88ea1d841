#include "http/access_policy.h"

#include <fmt/format.h>

#include <algorithm>

#include "http/uri.h"

namespace lem::http {
namespace {

// Long enough that a page asks once, short enough that a changed configuration is seen (Chromium's cap is 2 h).
constexpr std::string_view kPreflightMaxAgeS = "600";
// Longer lists of requested fields are not echoed.
constexpr size_t kMaxRequestedHeaders = 2048;
constexpr std::string_view kUsualRequestHeaders = "Authorization, Content-Type, X-Request-Id";
// What a page may read besides the CORS-safelisted fields.
constexpr std::string_view kExposedHeaders = "X-Request-Id, Request-Id, Retry-After";

// Only what a name, an address or an origin may consist of, so that a message never carries anything else back.
std::string Shown(std::string_view text) {
  constexpr size_t kMaxShown = 80;
  std::string out;
  for (const char c : text.substr(0, kMaxShown)) out += c > ' ' && c < 0x7f ? c : '?';
  return out;
}

bool MatchesHostPattern(std::string_view host, std::string_view pattern) {
  if (pattern == "*") return true;
  if (pattern.starts_with("*.")) {
    const std::string_view suffix = pattern.substr(1);
    return host.size() > suffix.size() && EqualsIgnoreCase(host.substr(host.size() - suffix.size()), suffix);
  }
  return EqualsIgnoreCase(host, pattern);
}

bool MatchesOriginPattern(std::string_view origin, std::string_view pattern) {
  if (pattern == "*") return true;
  // Only after the scheme: "https://app.example.com*" would also let app.example.com.evil.net in.
  if (pattern.ends_with("://*")) {
    const std::string_view prefix = pattern.substr(0, pattern.size() - 1);
    return origin.size() >= prefix.size() && EqualsIgnoreCase(origin.substr(0, prefix.size()), prefix);
  }
  return EqualsIgnoreCase(origin, pattern);
}

uint16_t PortOf(const Authority& authority, std::string_view scheme) {
  return authority.port.value_or(scheme == "https" ? 443 : 80);
}

}  // namespace

bool AccessPolicy::HostAllowed(std::string_view host, std::string_view bound_host) const {
  const std::optional<Authority> authority = ParseAuthority(host);
  if (!authority) return false;
  if (authority->is_loopback || bound_host == kUnixSocketHost) return true;
  // A bound IPv6 address has no brackets.
  const std::string bound_text =
      bound_host.find(':') != std::string_view::npos ? fmt::format("[{}]", bound_host) : std::string(bound_host);
  const std::optional<Authority> bound = ParseAuthority(bound_text);
  if (bound && bound->host == authority->host) return true;
  if (bound && !bound->is_loopback && authority->is_ip) return true;
  return std::any_of(options_.allowed_hosts.begin(), options_.allowed_hosts.end(),
                     [&](const std::string& pattern) { return MatchesHostPattern(authority->host, pattern); });
}

bool AccessPolicy::OriginAllowed(std::string_view origin, std::string_view host) const {
  const auto allows = [&](const std::string& pattern) { return MatchesOriginPattern(origin, pattern); };
  if (std::any_of(options_.allowed_origins.begin(), options_.allowed_origins.end(), allows)) return true;
  const std::optional<Origin> parsed = ParseOrigin(origin);
  if (!parsed || (parsed->scheme != "http" && parsed->scheme != "https")) return false;
  if (parsed->authority.is_loopback) return true;
  const std::optional<Authority> own = ParseAuthority(host);
  return own && own->host == parsed->authority.host &&
         PortOf(*own, parsed->scheme) == PortOf(parsed->authority, parsed->scheme);
}

std::optional<AccessDenial> AccessPolicy::Check(const Request& request, std::string_view authority,
                                                std::string_view bound_host) const {
  const size_t num_hosts = request.headers.Count("Host");
  if (num_hosts > 1) return AccessDenial{"bad_host", "the request has more than one Host field; send one", 400};
  // An absolute-form target overrides the Host field (RFC 9112, 3.2.2).
  const std::string_view host = authority.empty() ? request.headers.Get("Host") : authority;
  if (num_hosts == 1 || !authority.empty()) {
    if (!ParseAuthority(host)) {
      return AccessDenial{"bad_host", fmt::format("the Host field '{}' is not a host and port", Shown(host)), 400};
    }
    if (!HostAllowed(host, bound_host)) {
      return AccessDenial{
          "host_not_allowed",
          fmt::format("host '{}' is not served here; use localhost or the server's address, or add the name to "
                      "allowed_hosts",
                      Shown(host))};
    }
  }
  const size_t num_origins = request.headers.Count("Origin");
  if (num_origins > 1) return AccessDenial{"bad_origin", "the request has more than one Origin field; send one", 400};
  if (num_origins == 1 && !OriginAllowed(request.headers.Get("Origin"), host)) {
    return AccessDenial{"origin_not_allowed",
                        fmt::format("pages from origin '{}' may not use this server; add it to allowed_origins",
                                    Shown(request.headers.Get("Origin")))};
  }
  return std::nullopt;
}

Headers AccessPolicy::CorsHeaders(const Request& request) const {
  const std::string* origin = request.headers.Find("Origin");
  if (origin == nullptr) return {};
  return {{"Access-Control-Allow-Origin", *origin},
          {"Access-Control-Expose-Headers", std::string(kExposedHeaders)},
          {"Vary", "Origin"}};
}

Headers AccessPolicy::PreflightHeaders(const Request& request, const std::vector<std::string>& allowed_methods) {
  Headers out;
  out.Add("Access-Control-Allow-Methods", fmt::format("{}", fmt::join(allowed_methods, ", ")));
  const std::string_view asked = request.headers.Get("Access-Control-Request-Headers");
  // The origin is trusted by now, so what it asks for is granted if it is a list of field names.
  const bool is_list = std::all_of(asked.begin(), asked.end(),
                                   [](char c) { return c == ',' || c == ' ' || IsToken(std::string_view(&c, 1)); });
  const bool echo = !asked.empty() && asked.size() <= kMaxRequestedHeaders && is_list;
  out.Add("Access-Control-Allow-Headers", std::string(echo ? asked : kUsualRequestHeaders));
  out.Add("Access-Control-Max-Age", std::string(kPreflightMaxAgeS));
  if (EqualsIgnoreCase(request.headers.Get("Access-Control-Request-Private-Network"), "true")) {
    out.Add("Access-Control-Allow-Private-Network", "true");
  }
  return out;
}

bool IsPreflight(const Request& request) {
  return request.method == "OPTIONS" && request.headers.Find("Origin") != nullptr &&
         request.headers.Find("Access-Control-Request-Method") != nullptr;
}

}  // namespace lem::http
