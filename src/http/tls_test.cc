#include "http/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <fstream>

#include "base/file.h"
#include "http/testing_socket.h"
#include "http/testing_web_socket.h"

namespace lem::http {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using namespace std::chrono_literals;

mode_t ModeOf(const std::filesystem::path& path) {
  struct stat status{};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_mode & 07777;
}

// A blocking client that trusts one certificate file and nothing else.
class TlsClient {
 public:
  TlsClient(uint16_t port, const std::filesystem::path& trusted, int max_version = TLS1_3_VERSION) {
    context_ = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_max_proto_version(context_, max_version);
    SSL_CTX_set_security_level(context_, 0);
    EXPECT_EQ(SSL_CTX_load_verify_locations(context_, trusted.c_str(), nullptr), 1);
    ssl_ = SSL_new(context_);
    X509_VERIFY_PARAM* const checks = SSL_get0_param(ssl_);
    X509_VERIFY_PARAM_set_flags(checks, X509_V_FLAG_X509_STRICT);
    X509_VERIFY_PARAM_set1_ip_asc(checks, "127.0.0.1");
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{std::chrono::seconds(kPatience).count(), 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    SSL_set_fd(ssl_, fd_);
    is_connected_ = SSL_connect(ssl_) == 1;
    ERR_clear_error();
  }
  ~TlsClient() {
    SSL_free(ssl_);
    ::close(fd_);
    SSL_CTX_free(context_);
  }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  bool is_connected() const { return is_connected_; }
  std::string version() const { return SSL_get_version(ssl_); }

  void Send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const int sent = SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()));
      ASSERT_GT(sent, 0);
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }
  std::string ReadThrough(std::string_view end) {
    while (in_.find(end) == std::string::npos && Fill()) {
    }
    const size_t at = in_.find(end);
    return at == std::string::npos ? std::exchange(in_, "") : Take(at + end.size());
  }
  std::string ReadBytes(size_t size) {
    while (in_.size() < size && Fill()) {
    }
    return Take(std::min(size, in_.size()));
  }
  // True if the server said that nothing follows before it closed.
  bool EndsCleanly() {
    while (Fill()) {
    }
    return (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0;
  }

 private:
  bool Fill() {
    char chunk[16384];
    const int size = SSL_read(ssl_, chunk, sizeof(chunk));
    if (size > 0) in_.append(chunk, static_cast<size_t>(size));
    return size > 0;
  }
  std::string Take(size_t size) {
    std::string out = in_.substr(0, size);
    in_.erase(0, size);
    return out;
  }

  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
  int fd_ = -1;
  bool is_connected_ = false;
  std::string in_;
};

class Echo final : public WebSocketListener {
 public:
  explicit Echo(std::shared_ptr<WebSocket> socket) : socket_(std::move(socket)) {}
  void OnText(std::string text) override { socket_->Send("echo " + text); }
  void OnBinary() override {}
  void OnClosed() override {}
  void OnDrain() override { socket_->Close(CloseCode::kGoingAway, ""); }

 private:
  const std::shared_ptr<WebSocket> socket_;
};

class TlsTest : public testing::Test {
 protected:
  TlsTest() {
    EXPECT_TRUE(EnsureSelfSignedCertificate(files_, names_).ok());
    router_.Add("GET", "/health", [](const Request& request) { return Response::Text(200, request.remote_address); },
                {.run_on = RunOn::kIoThread});
    router_.Add("POST", "/size",
                [](const Request& request) { return Response::Text(200, std::to_string(request.body.size())); });
    router_.Add("GET", "/large", [](const Request&) { return Response::Text(200, std::string(8 << 20, 'x')); });
    router_.AddWebSocket("/ws", [](const Request&, std::shared_ptr<WebSocket> socket) {
      return std::make_shared<Echo>(std::move(socket));
    });
  }
  ~TlsTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  void StartServer(ServerOptions options = {}) {
    server_ = std::make_unique<Server>(std::move(options), std::move(router_));
    const auto context = TlsContext::Load(files_);
    ASSERT_TRUE(context.ok()) << context.status().ToString();
    const Result<uint16_t> port = server_->Listen("127.0.0.1", 0, *context);
    ASSERT_TRUE(port.ok()) << port.status().ToString();
    port_ = *port;
    ASSERT_TRUE(server_->Start().ok());
  }

  const std::filesystem::path folder_ = testing::TempDir() + "tls_test_" + std::to_string(::getpid());
  const TlsFiles files_{folder_ / "tls" / "cert.pem", folder_ / "tls" / "key.pem"};
  const std::vector<std::string> names_ = {"localhost", "127.0.0.1", "::1"};
  Router router_;
  std::unique_ptr<Server> server_;
  uint16_t port_ = 0;
};

TEST_F(TlsTest, ServesWhoTrustsTheCertificate) {
  StartServer();
  TlsClient client(port_, files_.certificate);
  ASSERT_TRUE(client.is_connected());
  EXPECT_EQ(client.version(), "TLSv1.3");
  for (int i = 0; i < 2; ++i) {
    client.Send(Get("/health"));
    EXPECT_THAT(client.ReadThrough("\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
    EXPECT_EQ(client.ReadBytes(10), "127.0.0.1:");
    client.ReadBytes(5);
  }
  TlsClient older(port_, files_.certificate, TLS1_2_VERSION);
  EXPECT_EQ(older.version(), "TLSv1.2");
  EXPECT_FALSE(TlsClient(port_, files_.certificate, TLS1_1_VERSION).is_connected());
}

TEST_F(TlsTest, MovesLargeBodiesBothWays) {
  StartServer();
  TlsClient client(port_, files_.certificate);
  std::string body;
  body.resize(9'000'000, ' ');
  client.Send(Post("/size", body));
  EXPECT_THAT(client.ReadThrough("\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(client.ReadBytes(7), "9000000");
  client.Send(Get("/large"));
  EXPECT_THAT(client.ReadThrough("\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  std::this_thread::sleep_for(20ms);  // the server has to wait
  EXPECT_EQ(client.ReadBytes(8 << 20), std::string(8 << 20, 'x'));
}

TEST_F(TlsTest, SaysThatAnAnswerIsWhole) {
  StartServer();
  TlsClient client(port_, files_.certificate);
  client.Send(Get("/health", "Connection: close\r\n"));
  EXPECT_THAT(client.ReadThrough("\r\n\r\n"), HasSubstr("Connection: close"));
  EXPECT_TRUE(client.EndsCleanly());
}

TEST_F(TlsTest, TellsClientsThatSpeakHttp) {
  StartServer();
  RawClient client(port_);
  const RawResponse response = client.Request(Get("/health"));
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(response.body, HasSubstr("https://"));
  EXPECT_TRUE(response.complete);
}

TEST_F(TlsTest, HandshakesThatTakeTooLongAreCountedAndClosed) {
  ServerOptions options;
  options.timeouts.handshake = 200ms;
  StartServer(std::move(options));
  RawClient silent(port_);
  RawClient half(port_);
  half.Send(std::string_view("\x16\x03\x01\x02\x00\x01", 6));
  EXPECT_TRUE(Eventually([&] { return server_->num_connections() == 2; }));
  EXPECT_TRUE(silent.AtEnd());
  EXPECT_TRUE(half.AtEnd());
  EXPECT_TRUE(Eventually([&] { return server_->num_connections() == 0; }));
}

TEST_F(TlsTest, CarriesWebSockets) {
  StartServer();
  TlsClient client(port_, files_.certificate);
  client.Send(Get("/ws", kUpgradeFields));
  EXPECT_THAT(client.ReadThrough("\r\n\r\n"), StartsWith("HTTP/1.1 101 "));
  const std::string large(100'000, 'a');
  client.Send(EncodeFrame(Opcode::kText, large) + EncodeFrame(Opcode::kText, "b"));
  client.ReadBytes(10);  // head of a frame with a 64-bit length
  EXPECT_EQ(client.ReadBytes(5 + large.size()), "echo " + large);
  EXPECT_EQ(client.ReadBytes(2 + 6).substr(2), "echo b");
  server_->Stop();
}

TEST_F(TlsTest, ClientsThatGoInTheMiddleLeaveNothing) {
  StartServer();
  for (int i = 0; i < 8; ++i) {
    TlsClient client(port_, files_.certificate);
    client.Send(Get("/large"));
    client.ReadBytes(1000);
  }
  EXPECT_TRUE(Eventually([&] { return server_->num_connections() == 0; }));
}

TEST_F(TlsTest, CertificatesAreKeptUntilTheyDoNotFit) {
  EXPECT_EQ(ModeOf(files_.key), 0600u);
  EXPECT_EQ(ModeOf(files_.certificate), 0600u);
  const std::string first = *ReadFile(files_.certificate);
  EXPECT_TRUE(EnsureSelfSignedCertificate(files_, names_).ok());
  EXPECT_EQ(*ReadFile(files_.certificate), first);
  EXPECT_TRUE(EnsureSelfSignedCertificate(files_, std::vector<std::string>{"localhost", "box.lan"}).ok());
  EXPECT_NE(*ReadFile(files_.certificate), first);
  EXPECT_TRUE(TlsContext::Load(files_).ok());
  EXPECT_FALSE(EnsureSelfSignedCertificate(files_, std::vector<std::string>{"a,DNS:b\n"}).ok());
}

TEST_F(TlsTest, RefusesKeysOfOthersAndKeysThatOthersRead) {
  const TlsFiles other{folder_ / "other" / "cert.pem", folder_ / "other" / "key.pem"};
  ASSERT_TRUE(EnsureSelfSignedCertificate(other, names_).ok());
  const auto mixed = TlsContext::Load({files_.certificate, other.key});
  EXPECT_THAT(mixed.status().message(), HasSubstr("does not hold the key"));
  EXPECT_EQ(TlsContext::Load({files_.certificate, folder_ / "none"}).status().code(), StatusCode::kNotFound);
  std::ofstream(folder_ / "text") << "no certificate\n";
  EXPECT_THAT(TlsContext::Load({folder_ / "text", files_.key}).status().message(), HasSubstr("holds no certificate"));
  ::chmod(files_.key.c_str(), 0644);
  EXPECT_EQ(TlsContext::Load(files_).status().code(), StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace lem::http
