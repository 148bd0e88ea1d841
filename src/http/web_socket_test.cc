// WebSockets as a client sees them: the handshake, frames of every kind, closing, and what is refused.
#include "http/web_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "http/testing_web_socket.h"

namespace lem::http {
namespace {

using testing::HasSubstr;

// Says every message back; "close" closes, "fill N" sends N bytes.
class EchoListener final : public WebSocketListener {
 public:
  EchoListener(std::shared_ptr<WebSocket> socket, std::atomic<int>& num_closed)
      : socket_(std::move(socket)), num_closed_(num_closed) {}
  void OnText(std::string text) override {
    if (text == "close") return socket_->Close(CloseCode::kNormal, "bye");
    if (text == "throw") throw std::runtime_error("a handler's bug");
    if (text.starts_with("fill ")) text = std::string(std::stoul(text.substr(5)), 'x');
    socket_->Send(std::move(text));
  }
  void OnBinary() override { socket_->Send("binary"); }
  void OnClosed() override { ++num_closed_; }
  void OnDrain() override { socket_->Close(CloseCode::kGoingAway, "drain"); }

 private:
  const std::shared_ptr<WebSocket> socket_;
  std::atomic<int>& num_closed_;
};

class WebSocketTest : public testing::Test {
 protected:
  WebSocketTest() { Start({}); }

  void Start(ServerOptions options) {
    server_.reset();
    Router router;
    router.AddWebSocket("/ws", [this](const Request&, std::shared_ptr<WebSocket> socket) {
      return std::make_shared<EchoListener>(std::move(socket), num_closed_);
    });
    router.Add("GET", "/plain", [](const Request&) { return Response::Text(200, "plain"); });
    server_ = std::make_unique<Server>(std::move(options), std::move(router));
    const auto port = server_->Listen("127.0.0.1", 0);
    ASSERT_TRUE(port.ok());
    ASSERT_TRUE(server_->Start().ok());
    port_ = *port;
  }
  RawResponse Ask(std::string_view fields, std::string_view path = "/ws") const {
    return RawClient(port_).Request(Get(path, fields));
  }

  std::atomic<int> num_closed_{0};
  std::unique_ptr<Server> server_;
  uint16_t port_ = 0;
};

TEST_F(WebSocketTest, OpensEchoesAndCloses) {
  WebSocketClient client(port_, "/ws");
  EXPECT_THAT(client.head(), HasSubstr("HTTP/1.1 101 "));
  EXPECT_THAT(client.head(), HasSubstr("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));  // RFC 6455, 1.3
  EXPECT_THAT(client.head(), HasSubstr("X-Request-Id: "));
  client.SendText("héllo");
  EXPECT_EQ(client.ReadText(), "héllo");
  client.Send(Opcode::kBinary, "\x01");
  EXPECT_EQ(client.ReadText(), "binary");
  client.SendText("close");
  EXPECT_EQ(client.Read().close_code(), 1000);
  client.Send(Opcode::kClose, "\x03\xe8");
  EXPECT_TRUE(client.Read().ended);
  client.raw().Close();
  EXPECT_TRUE(Eventually([&] { return num_closed_ == 1 && server_->num_connections() == 0; }));
}

TEST_F(WebSocketTest, AnswersClosesAndPings) {
  WebSocketClient client(port_, "/ws");
  client.Send(Opcode::kPing, "are you there");
  const Frame pong = client.Read();
  EXPECT_EQ(pong.opcode, Opcode::kPong);
  EXPECT_EQ(pong.payload, "are you there");
  client.Send(Opcode::kPong, "nobody asked");
  client.Send(Opcode::kClose,
              "\x03\xe8"
              "bye");
  EXPECT_EQ(client.Read().close_code(), 1000);
  EXPECT_TRUE(client.Read().ended);
}

TEST_F(WebSocketTest, JoinsFragmentsWithPingsBetween) {
  WebSocketClient client(port_, "/ws");
  client.Send(Opcode::kText, "ab\xc3", /*fin=*/false);  // a code point may be cut
  client.Send(Opcode::kContinuation, "\xa9", /*fin=*/false);
  client.Send(Opcode::kPing, "p");
  client.Send(Opcode::kContinuation, "d", /*fin=*/true);
  EXPECT_EQ(client.Read().opcode, Opcode::kPong);
  EXPECT_EQ(client.ReadText(), "abéd");
  const std::string large(200'000, 'y');
  client.SendText(large);
  EXPECT_EQ(client.ReadText(), large);
}

TEST_F(WebSocketTest, BrokenFramesCloseWithTheirCode) {
  const auto code_after = [&](std::string_view bytes) {
    WebSocketClient client(port_, "/ws");
    client.SendBytes(bytes);
    return client.Read().close_code();
  };
  EXPECT_EQ(code_after(EncodeFrame(Opcode::kText, "\xff\xfe")), 1007);
  EXPECT_EQ(code_after(EncodeFrame(Opcode::kText, "no mask", true, Masking::kOff)), 1002);
  EXPECT_EQ(code_after(EncodeFrame(Opcode::kContinuation, "of nothing")), 1002);
  EXPECT_EQ(code_after(EncodeFrame(static_cast<Opcode>(3), "reserved")), 1002);
  EXPECT_EQ(code_after(EncodeFrame(Opcode::kPing, std::string(126, 'p'))), 1002);
  EXPECT_EQ(code_after("\xf1\x80\x11\x22\x33\x44"), 1002);  // reserved bits
  ServerOptions options;
  options.limits.max_body_bytes = 100;
  Start(std::move(options));
  EXPECT_EQ(code_after(EncodeFrame(Opcode::kText, std::string(101, 'x'))), 1009);
  EXPECT_EQ(code_after(EncodeFrame(Opcode::kText, std::string(60, 'x'), false) +
                       EncodeFrame(Opcode::kContinuation, std::string(60, 'x'))),
            1009);
  EXPECT_EQ(RawClient(port_).Request(Get("/plain")).status, 200);
}

TEST_F(WebSocketTest, HandshakesThatAreNone) {
  RawResponse response = Ask("");
  EXPECT_EQ(response.status, 426);
  EXPECT_EQ(response.headers.Get("Upgrade"), "websocket");
  const std::string upgrade = "Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n";
  const std::string key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
  response = Ask(upgrade + key + "Sec-WebSocket-Version: 8\r\n");
  EXPECT_EQ(response.status, 426);
  EXPECT_EQ(response.headers.Get("Sec-WebSocket-Version"), "13");
  EXPECT_EQ(Ask(upgrade + "Sec-WebSocket-Version: 13\r\n").status, 400);
  EXPECT_EQ(Ask(upgrade + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n").status, 400);
  EXPECT_EQ(Ask(std::string(kUpgradeFields) + "Origin: https://evil.example\r\n").status, 403);
  EXPECT_EQ(Ask(kUpgradeFields, "/plain").status, 200);
  EXPECT_EQ(RawClient(port_).Request(Post("/ws", "{}")).status, 405);
  WebSocketClient good(port_, "/ws", "Origin: http://localhost:3000\r\n");
  EXPECT_THAT(good.head(), HasSubstr("101"));
}

TEST_F(WebSocketTest, HandlersBugsCloseTheSocketAndNoMore) {
  WebSocketClient client(port_, "/ws");
  client.SendText("throw");
  EXPECT_EQ(client.Read().close_code(), 1011);
  EXPECT_EQ(RawClient(port_).Request(Get("/plain")).status, 200);
}

TEST_F(WebSocketTest, ClientsThatVanishOrDoNotReadAreClosed) {
  {
    WebSocketClient client(port_, "/ws");
    client.raw().Reset();
  }
  EXPECT_TRUE(Eventually([&] { return num_closed_ == 1; }));
  ServerOptions options;
  options.max_buffered_bytes = 1 << 20;
  Start(std::move(options));
  WebSocketClient client(port_, "/ws");
  for (int i = 0; i < 200; ++i) client.SendText("fill 100000");
  EXPECT_TRUE(Eventually([&] { return num_closed_ == 2; }));
}

TEST_F(WebSocketTest, ShutdownSaysGoodbye) {
  WebSocketClient client(port_, "/ws");
  client.SendText("x");
  EXPECT_EQ(client.ReadText(), "x");
  std::thread drain([&] { server_->Drain(std::chrono::steady_clock::now() + kPatience); });
  EXPECT_EQ(client.Read().close_code(), 1001);
  client.Send(Opcode::kClose, "\x03\xe9");
  EXPECT_TRUE(client.Read().ended);
  client.raw().Close();
  drain.join();
  EXPECT_EQ(num_closed_, 1);
  // And without any time.
  Start({});
  WebSocketClient other(port_, "/ws");
  other.SendText("x");
  EXPECT_EQ(other.ReadText(), "x");
  server_->Stop();
  EXPECT_EQ(num_closed_, 2);
}

TEST_F(WebSocketTest, HandlesOfOtherThreadsOutliveTheServer) {
  for (int i = 0; i < 20; ++i) {
    std::shared_ptr<WebSocket> handle;
    Router router;
    router.AddWebSocket("/ws", [&](const Request&, std::shared_ptr<WebSocket> socket) {
      handle = socket;
      return std::make_shared<EchoListener>(std::move(socket), num_closed_);
    });
    Server server({}, std::move(router));
    const auto port = server.Listen("127.0.0.1", 0);
    ASSERT_TRUE(port.ok() && server.Start().ok());
    WebSocketClient client(*port, "/ws");
    client.SendText("hello");
    ASSERT_EQ(client.ReadText(), "hello");
    std::thread sender([&] {
      while (handle->Send("x")) continue;
    });
    if (i % 2 == 0) client.raw().Close();
    server.Stop();
    sender.join();
    EXPECT_FALSE(handle->Send("x"));
    handle->Close(CloseCode::kNormal, "");
  }
}

}  // namespace
}  // namespace lem::http
