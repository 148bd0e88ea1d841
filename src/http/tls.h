// TLS 1.2 and 1.3 over OpenSSL 3: the server's certificate, and the record layer of one connection. OpenSSL's own types
// stay in tls.cc.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace lem::http {

// PEM files.
struct TlsFiles {
  std::filesystem::path certificate;  // and those that signed it, leaf first
  std::filesystem::path key;          // without a passphrase; nobody else may read it
};

// A certificate with its key and what is common to connections. Immutable, so thread-safe.
class TlsContext {
 public:
  // Errors: NotFound, PermissionDenied (key that others can read), InvalidArgument (no PEM, or key of another one).
  static Result<std::shared_ptr<const TlsContext>> Load(const TlsFiles& files);

  struct Native;  // OpenSSL's
  explicit TlsContext(std::unique_ptr<Native> native);
  ~TlsContext();
  Native& native() const { return *native_; }

 private:
  std::unique_ptr<Native> native_;
};

// Makes a key and a certificate that it signs itself for `names` (hosts and addresses), unless the files hold one for
// them that is good for another month. Both are readable by their owner only; missing folders are made. Errors: those
// of the files.
Status EnsureSelfSignedCertificate(const TlsFiles& files, std::span<const std::string> names);

// One connection's end of TLS, over a socket that does not block and that outlives it. The handshake happens inside
// Read. Not thread-safe.
class TlsSession {
 public:
  enum class State {
    kDone,       // size_bytes were moved
    kWantRead,   // again when the socket is readable
    kWantWrite,  // again when it is writable
    kEnd,        // the peer has ended its side
    kFailed,     // the connection is of no more use
  };
  struct Outcome {
    State state = State::kFailed;
    size_t size_bytes = 0;
  };

  // Errors: ResourceExhausted.
  static Result<std::unique_ptr<TlsSession>> Make(std::shared_ptr<const TlsContext> context, int socket_fd);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  Outcome Read(std::span<char> into);
  // After kWantWrite the next call must begin with the same bytes. REQUIRES: established.
  Outcome Write(std::string_view bytes);
  // Tells the peer that nothing follows, as far as that goes without waiting.
  void EndWriting();
  bool established() const;

 private:
  struct Native;
  TlsSession(std::shared_ptr<const TlsContext> context, std::unique_ptr<Native> native);
  Outcome Failure(int result);

  const std::shared_ptr<const TlsContext> context_;  // shared with the listener, which may end before
  const std::unique_ptr<Native> native_;
  bool failed_ = false;
};

}  // namespace lem::http
