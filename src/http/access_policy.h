// Who may speak to the server from a browser: the Host check (DNS rebinding), the Origin check and the CORS fields.
// Decided before routing, on every request. Immutable, so thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"

namespace lem::http {

struct AccessOptions {
  // Host names served besides loopback ones and the address that the server is bound to: "box.lan", "*.example.com",
  // or "*" for any (turns the protection against DNS rebinding off).
  std::vector<std::string> allowed_hosts;
  // Origins allowed besides the server's own and loopback ones: "https://app.example.com", "vscode-webview://*",
  // "null", or "*" for any.
  std::vector<std::string> allowed_origins;
};

// Why a request is refused.
struct AccessDenial {
  std::string code;     // "host_not_allowed", "origin_not_allowed", "bad_host"
  std::string message;  // names the value and what to do
  int status = 403;
};

// As bound_host: a Unix socket. No page of a browser can reach it, so names of hosts say nothing there.
inline constexpr std::string_view kUnixSocketHost = "unix";

class AccessPolicy {
 public:
  explicit AccessPolicy(AccessOptions options) : options_(std::move(options)) {}

  // `authority` is that of an absolute-form target, else "". `bound_host` is the address the listener is bound to: if
  // it is not a loopback one, every Host that is an IP address passes, because rebinding needs a name.
  std::optional<AccessDenial> Check(const Request& request, std::string_view authority,
                                    std::string_view bound_host) const;

  // The CORS fields for a request that Check let pass; none if it has no Origin.
  Headers CorsHeaders(const Request& request) const;
  // Those of the answer to a preflight, besides CorsHeaders.
  static Headers PreflightHeaders(const Request& request, const std::vector<std::string>& allowed_methods);

 private:
  bool HostAllowed(std::string_view host, std::string_view bound_host) const;
  bool OriginAllowed(std::string_view origin, std::string_view host) const;

  const AccessOptions options_;
};

// True for OPTIONS with Origin and Access-Control-Request-Method.
bool IsPreflight(const Request& request);

}  // namespace lem::http
