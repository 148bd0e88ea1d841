#include "apps/lem/listening.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "http/tls.h"
#include "http/uri.h"

namespace lem {
namespace {

// As the configuration says that there is no such file, socket or address.
constexpr std::string_view kNone = "none";

std::optional<http::Authority> ParseHost(const std::string& host) {
  const bool is_bare_v6 = host.find(':') != std::string::npos && !host.starts_with('[');
  return http::ParseAuthority(is_bare_v6 ? fmt::format("[{}]", host) : host);
}

// What clients may call this machine.
std::vector<std::string> NamesOfThisMachine(const Config::Server& config) {
  std::vector<std::string> names = {"localhost", "127.0.0.1", "::1"};
  char own[256] = "";
  if (::gethostname(own, sizeof(own) - 1) == 0 && own[0] != '\0') names.emplace_back(own);
  const auto host = ParseHost(config.host);
  const bool is_any = host && (host->host == "0.0.0.0" || host->host == "::");
  if (host && !host->is_loopback && !is_any) names.push_back(host->host);
  for (const std::string& name : config.allowed_hosts) {
    if (name.find('*') == std::string::npos) names.push_back(name);
  }
  return names;
}

}  // namespace

Status Listening::Check(bool may_be_remote) const {
  if ((config_.tls_certificate == kNone) != (config_.tls_key == kNone)) {
    return InvalidArgument(
        "TLS needs a certificate and its key: give both --tls-cert and --tls-key, or --tls-generate");
  }
  if (config_.tls_generate && config_.tls_certificate != kNone) {
    return InvalidArgument("--tls-generate makes a certificate, and --tls-cert names one; give one of the two");
  }
  if (!handed_over_.empty()) return OkStatus();  // who opened them has decided
  if (!has_tcp()) {
    if (config_.unix_socket != kNone) return OkStatus();
    return InvalidArgument("with host \"none\" there must be a Unix socket to listen on: --unix PATH");
  }
  const auto host = ParseHost(config_.host);
  if (!host) return InvalidArgument("{} is no host name or address to listen on", config_.host);
  if (host->is_loopback || may_be_remote) return OkStatus();
  return InvalidArgument(
      "listening on {} would let every machine that can reach it use the models; ask for keys (lem key add, "
      "--api-keys), add --allow-remote if that is meant, or listen on 127.0.0.1",
      config_.host);
}

Result<std::shared_ptr<const http::TlsContext>> Listening::LoadCertificate() const {
  if (config_.tls_generate) {
    const std::filesystem::path folder = StateDir() / "tls";
    const http::TlsFiles files{folder / "cert.pem", folder / "key.pem"};
    LEM_TRY(http::EnsureSelfSignedCertificate(files, NamesOfThisMachine(config_)));
    LogInfo("clients can check the server by its certificate {}", files.certificate.string());
    return http::TlsContext::Load(files);
  }
  if (config_.tls_certificate == kNone) return std::shared_ptr<const http::TlsContext>();
  return http::TlsContext::Load({config_.tls_certificate, config_.tls_key});
}

std::string Listening::UrlOf(uint16_t port) const {
  const bool is_bare_v6 = config_.host.find(':') != std::string::npos && !config_.host.starts_with('[');
  const bool has_tls = config_.tls_generate || config_.tls_certificate != kNone;
  return fmt::format(fmt::runtime(is_bare_v6 ? "{}://[{}]:{}" : "{}://{}:{}"), has_tls ? "https" : "http", config_.host,
                     port);
}

Result<std::vector<std::string>> Listening::Start(ApiServer& server) const {
  std::vector<std::string> places;
  LEM_ASSIGN_OR_RETURN(const auto tls, LoadCertificate());
  for (const int fd : handed_over_) {
    LEM_ASSIGN_OR_RETURN(std::string place, server.ListenOnDescriptor(fd, tls));
    places.push_back(std::move(place));
  }
  if (handed_over_.empty() && has_tcp()) {
    LEM_ASSIGN_OR_RETURN(const uint16_t port, server.Listen(config_.host, static_cast<uint16_t>(config_.port), tls));
    places.push_back(fmt::format("{} (OpenAI base URL: {}/v1)", UrlOf(port), UrlOf(port)));
    if (config_.ollama_port != 0) {
      const auto ollama_port = static_cast<uint16_t>(config_.ollama_port);
      LEM_TRY(server.Listen(config_.host, ollama_port, tls).status());
      places.push_back(UrlOf(ollama_port));
    }
  }
  if (config_.unix_socket != kNone) {
    LEM_TRY(server.ListenOnUnixSocket(config_.unix_socket));
    places.push_back("unix:" + config_.unix_socket);
  }
  return places;
}

}  // namespace lem
