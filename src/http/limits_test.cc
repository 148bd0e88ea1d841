// What clients may not do: too large, too many, too slow. Over real sockets.
#include <gtest/gtest.h>

#include <atomic>

#include "http/server.h"
#include "http/testing_socket.h"

namespace lem::http {
namespace {

using SteadyClock = std::chrono::steady_clock;
using namespace std::chrono_literals;

Router SmallRouter() {
  Router router;
  router.Add("GET", "/health", [](const Request&) { return Response::Text(200, "ok"); }, {.run_on = RunOn::kIoThread});
  router.Add("POST", "/size",
             [](const Request& request) { return Response::Text(200, std::to_string(request.body.size())); });
  return router;
}

class LimitsTest : public ::testing::Test {
 protected:
  void StartServer(ServerOptions options) { server_.emplace(SmallRouter(), std::move(options)); }
  int StatusOf(std::string_view bytes) {
    RawClient client(server_->port());
    return client.Request(bytes).status;
  }
  // The next request is served whatever the last client did.
  void ExpectHealthy() { EXPECT_EQ(StatusOf(Get("/health")), 200); }

  std::optional<TestServer> server_;
};

std::string ChunkedPost(std::string_view fields = "") {
  return fmt::format(
      "POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: "
      "chunked\r\n{}\r\n",
      fields);
}

TEST_F(LimitsTest, Header) {
  StartServer({});
  EXPECT_EQ(StatusOf(Get("/health", "A: " + std::string(60 << 10, 'a') + "\r\n")), 200);
  EXPECT_EQ(StatusOf(Get("/health", "A: " + std::string(64 << 10, 'a') + "\r\n")), 431);
  EXPECT_EQ(StatusOf("GET /health HTTP/1.1\r\nHost: localhost\r\nA: " + std::string(1 << 20, 'a')), 431);
  EXPECT_EQ(StatusOf(Get("/" + std::string(17 << 10, 'a'))), 414);
  EXPECT_EQ(StatusOf("GET /" + std::string(1 << 20, 'a')), 414);
  EXPECT_EQ(StatusOf(Get("/" + std::string(15 << 10, 'a'))), 404);
  std::string fields;
  for (int i = 0; i < 127; ++i) fields += fmt::format("A{}: b\r\n", i);
  EXPECT_EQ(StatusOf(Get("/health", fields)), 200);
  EXPECT_EQ(StatusOf(Get("/health", fields + "One-More: c\r\n")), 431);
  ExpectHealthy();
}

TEST_F(LimitsTest, Body) {
  ServerOptions options;
  options.limits.max_body_bytes = 100'000;
  StartServer(std::move(options));
  RawClient client(server_->port());
  EXPECT_EQ(client.Request(Post("/size", std::string(100'000, 'x'))).body, "100000");
  // Refused when announced; the client may send all of it and still reads the answer.
  const RawResponse refused = client.Request(Post("/size", std::string(10'000'000, 'x')));
  EXPECT_EQ(refused.status, 413);
  EXPECT_NE(refused.body.find("10000000 bytes; at most 100000"), std::string::npos) << refused.body;
  EXPECT_EQ(refused.headers.Get("Connection"), "close");
  EXPECT_TRUE(client.AtEnd());

  RawClient chunked(server_->port());
  chunked.Send(ChunkedPost());
  for (int i = 0; i < 101; ++i) chunked.Send("3e8\r\n" + std::string(1000, 'x') + "\r\n");
  EXPECT_EQ(chunked.ReadResponse().status, 413);
  EXPECT_EQ(StatusOf(ChunkedPost() + "ffffffffffffffff\r\nx"), 413);
  EXPECT_EQ(StatusOf(ChunkedPost() + "fffffffffffffffff\r\nx"), 400);
  EXPECT_EQ(StatusOf("POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     "Content-Length: 18446744073709551615\r\n\r\nx"),
            413);
  ExpectHealthy();
}

TEST_F(LimitsTest, ChunkExtensionsAndTrailers) {
  StartServer({});
  EXPECT_EQ(StatusOf(ChunkedPost() + "1;" + std::string(200'000, 'a')), 431);
  EXPECT_EQ(StatusOf(ChunkedPost() + "0\r\nA: " + std::string(200'000, 'a')), 431);
  std::string trailers;
  for (int i = 0; i < 200; ++i) trailers += fmt::format("A{}: b\r\n", i);
  EXPECT_EQ(StatusOf(ChunkedPost() + "0\r\n" + trailers + "\r\n"), 431);
  ExpectHealthy();
}

TEST_F(LimitsTest, SlowHeader) {
  ServerOptions options;
  options.timeouts.header = 200ms;
  options.timeouts.linger = 200ms;
  StartServer(std::move(options));
  RawClient client(server_->port());
  const auto start = SteadyClock::now();
  // Each byte comes early enough for a timer that starts anew with each.
  std::string header = "GET /health HTTP/1.1\r\nHost: localhost\r\nA: ";
  std::thread drip([&] {
    while (client.Send("a") && SteadyClock::now() - start < kPatience) std::this_thread::sleep_for(20ms);
  });
  client.Send(header);
  EXPECT_EQ(client.ReadResponse().status, 408);
  EXPECT_GE(SteadyClock::now() - start, 200ms);
  drip.join();
  ExpectHealthy();
}

TEST_F(LimitsTest, SlowBody) {
  ServerOptions options;
  options.timeouts.body_idle = 200ms;
  options.timeouts.body_total = 1s;
  StartServer(std::move(options));
  RawClient stalled(server_->port());
  EXPECT_EQ(stalled
                .Request("POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                         "Content-Length: 100\r\n\r\nhalf")
                .status,
            408);
  RawClient dripping(server_->port());
  dripping.Send(ChunkedPost());
  std::thread drip([&] {
    const auto start = SteadyClock::now();
    while (dripping.Send("1\r\na\r\n") && SteadyClock::now() - start < kPatience) std::this_thread::sleep_for(20ms);
  });
  EXPECT_EQ(dripping.ReadResponse().status, 408);
  dripping.ShutdownWrite();
  drip.join();
  ExpectHealthy();
}

TEST_F(LimitsTest, IdleConnectionsAreClosedInSilence) {
  ServerOptions options;
  options.timeouts.idle = 100ms;
  StartServer(std::move(options));
  RawClient silent(server_->port());
  EXPECT_TRUE(silent.AtEnd());
  RawClient kept(server_->port());
  EXPECT_EQ(kept.Request(Get("/health")).status, 200);
  EXPECT_TRUE(kept.AtEnd());
}

TEST_F(LimitsTest, ARefusedClientThatNeverStopsIsCut) {
  ServerOptions options;
  options.timeouts.linger = 200ms;
  StartServer(std::move(options));
  RawClient client(server_->port());
  client.Send(ChunkedPost() + "zzzz\r\n");
  EXPECT_EQ(client.ReadResponse().status, 400);
  const auto start = SteadyClock::now();
  while (client.Send("x") && SteadyClock::now() - start < kPatience) std::this_thread::sleep_for(5ms);
  EXPECT_LT(SteadyClock::now() - start, kPatience);
}

TEST_F(LimitsTest, Connections) {
  ServerOptions options;
  options.max_connections = 3;
  StartServer(std::move(options));
  std::vector<RawClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back(server_->port());
    EXPECT_EQ(clients.back().Request(Get("/health")).status, 200);
  }
  RawClient extra(server_->port());
  const RawResponse refused = extra.Request(Get("/health"));
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.Get("Retry-After"), "1");
  EXPECT_TRUE(extra.AtEnd());
  clients.pop_back();
  EXPECT_TRUE(Eventually([&] { return StatusOf(Get("/health")) == 200; }));
}

TEST_F(LimitsTest, WaitingWork) {
  std::atomic<bool> go{false};
  std::atomic<int> num_running{0};
  Router router;
  router.Add("GET", "/block", [&](const Request&) {
    ++num_running;
    while (!go) std::this_thread::sleep_for(1ms);
    return Response::Text(200, "ok");
  });
  router.Add("GET", "/health", [](const Request&) { return Response::Text(200, "ok"); }, {.run_on = RunOn::kIoThread});
  ServerOptions options;
  options.num_worker_threads = 1;
  options.max_queued_work = 1;
  TestServer server(std::move(router), std::move(options));
  RawClient running(server.port());
  running.Send(Get("/block"));
  EXPECT_TRUE(Eventually([&] { return num_running == 1; }));
  // One waits, all others are refused at once, and what needs no worker is served.
  std::vector<RawClient> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back(server.port());
    clients.back().Send(Get("/block"));
  }
  RawClient healthy(server.port());
  EXPECT_EQ(healthy.Request(Get("/health")).status, 200);
  std::this_thread::sleep_for(50ms);
  go = true;
  int num_ok = 0;
  int num_refused = 0;
  for (RawClient& client : clients) {
    const RawResponse response = client.ReadResponse();
    num_ok += response.status == 200;
    num_refused += response.status == 503 && response.headers.Get("Retry-After") == "1";
  }
  EXPECT_EQ(num_ok, 1);
  EXPECT_EQ(num_refused, 3);
  EXPECT_EQ(running.ReadResponse().status, 200);
}

TEST_F(LimitsTest, HalfHeadersHoldUpNobody) {
  StartServer({});
  std::vector<RawClient> half;
  for (int i = 0; i < 300; ++i) {
    half.emplace_back(server_->port());
    half.back().Send(i % 2 == 0 ? "GET /health HTTP/1.1\r\nHost: loc" : ChunkedPost() + "5\r\nab");
  }
  for (int i = 0; i < 20; ++i) ExpectHealthy();
}

}  // namespace
}  // namespace lem::http
