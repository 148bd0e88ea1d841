// Where `lem serve` listens, and with what certificate: as the configuration says, or on what a service manager hands
// over.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "runtime/config.h"
#include "server/api_server.h"

namespace lem {

class Listening {
 public:
  // `handed_over`: descriptors that listen already; they take the place of host and port.
  Listening(Config::Server config, std::span<const int> handed_over)
      : config_(std::move(config)), handed_over_(handed_over.begin(), handed_over.end()) {}

  // What can be said before anything is opened. Without keys an address that others reach is refused, unless it is
  // allowed: `may_be_remote`.
  Status Check(bool may_be_remote) const;

  // Binds everything; returns where, for people.
  Result<std::vector<std::string>> Start(ApiServer& server) const;

 private:
  bool has_tcp() const { return config_.host != "none"; }
  // nullptr: no TLS.
  Result<std::shared_ptr<const http::TlsContext>> LoadCertificate() const;
  std::string UrlOf(uint16_t port) const;

  const Config::Server config_;
  const std::vector<int> handed_over_;
};

}  // namespace lem
