#include "http/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

namespace lem::http {
namespace {

// A client that speaks HTTP to this port is told so, in the language that it knows.
constexpr std::string_view kPlainAnswer =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 46\r\nConnection: close\r\n\r\n"
    "this port speaks TLS: use https:// in the URL\n";
static_assert(kPlainAnswer.ends_with("\r\n\r\nthis port speaks TLS: use https:// in the URL\n"));

// Forward secrecy and authenticated encryption only; TLS 1.3 has nothing else.
constexpr const char* kCiphersOfTls12 = "ECDHE+AESGCM:ECDHE+CHACHA20";

std::string LastError() {
  char text[256] = "unknown error";
  if (const unsigned long code = ERR_peek_last_error(); code != 0) ERR_error_string_n(code, text, sizeof(text));
  ERR_clear_error();
  return text;
}

// OpenSSL's own socket BIO writes without MSG_NOSIGNAL.
int FdOf(BIO* bio) { return *static_cast<const int*>(BIO_get_data(bio)); }

int SocketWrite(BIO* bio, const char* bytes, int size) {
  const ssize_t sent = ::send(FdOf(bio), bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
  BIO_clear_retry_flags(bio);
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int SocketRead(BIO* bio, char* bytes, int size) {
  const ssize_t received = ::recv(FdOf(bio), bytes, static_cast<size_t>(size), 0);
  BIO_clear_retry_flags(bio);
  if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(received);
}

long SocketControl(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* SocketMethod() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    if (made != nullptr) {
      BIO_meth_set_write(made, SocketWrite);
      BIO_meth_set_read(made, SocketRead);
      BIO_meth_set_ctrl(made, SocketControl);
    }
    return made;
  }();
  return method;
}

// HTTP/1.1 if the client offers it; a client that offers only others is served all the same.
int SelectProtocol(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                   unsigned int offered_size, void* /*none*/) {
  static constexpr unsigned char kHttp11[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kHttp11, sizeof(kHttp11) - 1, offered, offered_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

Status CheckReadable(const std::filesystem::path& path, std::string_view what) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    return NotFound("{} {} cannot be found; give the path of a PEM file", what, path.string());
  }
  return OkStatus();
}

}  // namespace

struct TlsContext::Native {
  ~Native() { SSL_CTX_free(context); }
  SSL_CTX* context = nullptr;
};

struct TlsSession::Native {
  ~Native() { SSL_free(ssl); }
  SSL* ssl = nullptr;
  int fd = -1;
};

TlsContext::TlsContext(std::unique_ptr<Native> native) : native_(std::move(native)) {}
TlsContext::~TlsContext() = default;

Result<std::shared_ptr<const TlsContext>> TlsContext::Load(const TlsFiles& files) {
  LEM_TRY(CheckReadable(files.certificate, "certificate"));
  LEM_TRY(CheckReadable(files.key, "key"));
  struct stat status{};
  if (::stat(files.key.c_str(), &status) == 0 && (status.st_mode & (S_IRWXO | S_IWGRP)) != 0) {
    return PermissionDenied("key {} can be read or changed by others; take that from them: chmod 600 {}",
                            files.key.string(), files.key.string());
  }
  ERR_clear_error();
  auto native = std::make_unique<Native>();
  native->context = SSL_CTX_new(TLS_server_method());
  SSL_CTX* const context = native->context;
  if (context == nullptr) return ResourceExhausted("TLS cannot be set up: {}", LastError());
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  // A client that just closes its TCP connection has ended its side; lengths tell what is whole.
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                   SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Idle connections keep no buffers.
  SSL_CTX_set_mode(context,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(context, SelectProtocol, nullptr);
  if (SSL_CTX_set_cipher_list(context, kCiphersOfTls12) != 1) return Internal("TLS: {}", LastError());
  if (SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str()) != 1) {
    return InvalidArgument(
        "{} holds no certificate that can be used: {}; it must be a PEM file, the server's own first",
        files.certificate.string(), LastError());
  }
  // No passphrase is asked for: a server has no terminal.
  SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return 0; });
  if (SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    return InvalidArgument("{} does not hold the key of {}: {}; it must be a PEM file without a passphrase",
                           files.key.string(), files.certificate.string(), LastError());
  }
  return std::make_shared<const TlsContext>(std::move(native));
}

TlsSession::TlsSession(std::shared_ptr<const TlsContext> context, std::unique_ptr<Native> native)
    : context_(std::move(context)), native_(std::move(native)) {}
TlsSession::~TlsSession() = default;

Result<std::unique_ptr<TlsSession>> TlsSession::Make(std::shared_ptr<const TlsContext> context, int socket_fd) {
  auto native = std::make_unique<Native>();
  native->fd = socket_fd;
  native->ssl = SSL_new(context->native().context);
  BIO* const bio = native->ssl == nullptr || SocketMethod() == nullptr ? nullptr : BIO_new(SocketMethod());
  if (bio == nullptr) return ResourceExhausted("no memory for a TLS connection");
  BIO_set_data(bio, &native->fd);
  BIO_set_init(bio, 1);
  SSL_set_bio(native->ssl, bio, bio);
  SSL_set_accept_state(native->ssl);
  return std::unique_ptr<TlsSession>(new TlsSession(std::move(context), std::move(native)));
}

bool TlsSession::established() const { return SSL_is_init_finished(native_->ssl) == 1; }

TlsSession::Outcome TlsSession::Failure(int result) {
  switch (SSL_get_error(native_->ssl, result)) {
    case SSL_ERROR_WANT_READ:
      return {State::kWantRead};
    case SSL_ERROR_WANT_WRITE:
      return {State::kWantWrite};
    case SSL_ERROR_ZERO_RETURN:
      return {State::kEnd};
    default:
      break;
  }
  failed_ = true;
  if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST) {
    (void)::send(native_->fd, kPlainAnswer.data(), kPlainAnswer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    // Closing with unread bytes would destroy the answer on its way.
    char rest[4096];
    for (int i = 0; i < 16 && ::recv(native_->fd, rest, sizeof(rest), MSG_DONTWAIT) > 0; ++i) {
    }
  }
  ERR_clear_error();
  return {State::kFailed};
}

TlsSession::Outcome TlsSession::Read(std::span<char> into) {
  if (failed_) return {State::kFailed};
  ERR_clear_error();
  const int size = static_cast<int>(std::min<size_t>(into.size(), INT_MAX));
  const int result = SSL_read(native_->ssl, into.data(), size);
  if (result > 0) return {State::kDone, static_cast<size_t>(result)};
  return Failure(result);
}

TlsSession::Outcome TlsSession::Write(std::string_view bytes) {
  if (failed_) return {State::kFailed};
  if (bytes.empty()) return {State::kDone, 0};
  ERR_clear_error();
  const int size = static_cast<int>(std::min<size_t>(bytes.size(), INT_MAX));
  const int result = SSL_write(native_->ssl, bytes.data(), size);
  if (result > 0) return {State::kDone, static_cast<size_t>(result)};
  return Failure(result);
}

void TlsSession::EndWriting() {
  if (failed_ || !established()) return;
  ERR_clear_error();
  (void)SSL_shutdown(native_->ssl);
  ERR_clear_error();
}

}  // namespace lem::http
