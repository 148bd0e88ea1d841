// The server over real sockets: requests, answers, keep-alive, routing, errors.
#include "http/server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>

#include "base/json.h"
#include "http/sse.h"
#include "http/testing_socket.h"

namespace lem::http {
namespace {

Router EchoRouter() {
  Router router;
  router.Add("GET", "/health", [](const Request&) { return Response::Json(200, "{}"); }, {.run_on = RunOn::kIoThread});
  router.Add("GET", "/models/{id*}",
             [](const Request& request) { return Response::Text(200, std::string(request.PathParam("id"))); });
  router.Add("POST", "/echo", [](const Request& request) { return Response::Text(200, request.body); });
  router.Add("POST", "/echo-any", [](const Request& request) { return Response::Text(200, request.body); },
             {.body_type = BodyType::kAny});
  router.Add("GET", "/query", [](const Request& request) {
    return Response::Text(200, std::string(request.QueryParam("q").value_or("none")));
  });
  router.Add("GET", "/throw", [](const Request&) -> Response { throw std::runtime_error("broken handler"); });
  router.Add("GET", "/forget", [](Request, Responder) {});
  router.Add("GET", "/inject", [](const Request&) {
    return Response{200, {{"X-Bad", "a\r\nX-Evil: 1"}, {"Content-Length", "99"}}, "ok"};
  });
  router.Add("GET", "/later", [](Request, Responder responder) {
    std::thread([responder] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      responder.Send(Response::Text(200, "later"));
    }).detach();
  });
  router.Add("GET", "/stream", [](Request, Responder responder) {
    auto stream = responder.StartStream(200, SseHeaders());
    for (const char* word : {"one", "two", "three"}) stream->Write(SseEvent(word));
    stream->Finish();
  });
  router.Add("GET", "/cut",
             [](Request, Responder responder) { responder.StartStream(200, SseHeaders())->Write("data: half"); });
  return router;
}

std::string ErrorCode(const RawResponse& response) {
  const auto json = ParseJson(response.body);
  if (!json.ok()) return "not JSON: " + response.body;
  const auto* error = json->as_object().if_contains("error");
  return error == nullptr ? "no error" : std::string(error->as_object().at("code").as_string().c_str());
}

class ServerTest : public ::testing::Test {
 protected:
  TestServer server_{EchoRouter()};
  RawClient client_{server_.port()};
};

TEST_F(ServerTest, AnswersAndKeepsTheConnection) {
  for (int i = 0; i < 3; ++i) {
    const RawResponse response = client_.Request(Get("/health"));
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "{}");
    EXPECT_EQ(response.headers.Get("Content-Type"), "application/json");
    EXPECT_EQ(response.headers.Find("Connection"), nullptr);
    EXPECT_EQ(response.headers.Find("Server"), nullptr);
    EXPECT_TRUE(response.headers.Get("Date").ends_with(" GMT"));
    EXPECT_TRUE(response.headers.Get("X-Request-Id").starts_with("req_"));
  }
}

TEST_F(ServerTest, AnswersFromAnotherThreadLater) { EXPECT_EQ(client_.Request(Get("/later")).body, "later"); }

TEST_F(ServerTest, TakesBytesOneByOne) {
  for (const char c : Post("/echo", "{\"a\": 1}")) ASSERT_TRUE(client_.Send(std::string_view(&c, 1)));
  EXPECT_EQ(client_.ReadResponse().body, "{\"a\": 1}");
}

TEST_F(ServerTest, AnswersPipelinedRequestsInOrder) {
  std::string all;
  for (int i = 0; i < 50; ++i) {
    all += Post("/echo", std::to_string(i));
    all += Get(i % 2 == 0 ? "/later" : "/nothing-here");
    all += Get("/stream");
  }
  client_.Send(all);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(client_.ReadResponse().body, std::to_string(i));
    EXPECT_EQ(client_.ReadResponse().status, i % 2 == 0 ? 200 : 404);
    EXPECT_TRUE(client_.ReadResponse().complete);
  }
}

TEST_F(ServerTest, JoinsChunkedBodies) {
  std::string request =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
  std::string body;
  for (int i = 0; i < 5000; ++i) {
    const char digit = static_cast<char>('0' + i % 10);
    body += digit;
    request += fmt::format("1;ext=x\r\n{}\r\n", digit);
  }
  client_.Send(request + "0\r\nX-Request-Id: trailer\r\n\r\n");
  const RawResponse response = client_.ReadResponse();
  EXPECT_EQ(response.body, body);
  EXPECT_NE(response.headers.Get("X-Request-Id"), "trailer");
  EXPECT_EQ(client_.Request(Get("/health")).status, 200);
}

TEST_F(ServerTest, TakesAnEmptyChunkedBodyInAnyPieces) {
  const std::string request =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
      "0\r\n\r\n";
  for (size_t split = request.size() - 5; split < request.size(); ++split) {
    client_.Send(request.substr(0, split));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    client_.Send(request.substr(split));
    EXPECT_EQ(client_.ReadResponse().status, 200) << split;
  }
}

TEST_F(ServerTest, StreamsInChunks) {
  const RawResponse response = client_.Request(Get("/stream"));
  EXPECT_TRUE(response.complete);
  EXPECT_EQ(response.headers.Get("Content-Type"), "text/event-stream");
  EXPECT_EQ(response.body, "data: one\n\ndata: two\n\ndata: three\n\n");
  EXPECT_EQ(client_.Request(Get("/health")).status, 200);
}

TEST_F(ServerTest, AnUnfinishedStreamLooksCut) {
  const RawResponse response = client_.Request(Get("/cut"));
  EXPECT_EQ(response.status == 0 || !response.complete, true);
  EXPECT_TRUE(client_.AtEnd());
}

TEST_F(ServerTest, Http10) {
  const RawResponse plain = client_.Request("GET /health HTTP/1.0\r\n\r\n");
  EXPECT_EQ(plain.status, 200);
  EXPECT_EQ(plain.headers.Get("Connection"), "close");
  EXPECT_TRUE(client_.AtEnd());

  RawClient keeping(server_.port());
  for (int i = 0; i < 2; ++i) {
    const RawResponse response = keeping.Request("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_EQ(response.headers.Get("Connection"), "keep-alive");
  }
  RawClient streaming(server_.port());
  const RawResponse stream = streaming.Request("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(stream.headers.Find("Transfer-Encoding"), nullptr);
  EXPECT_EQ(stream.body, "data: one\n\ndata: two\n\ndata: three\n\n");
}

TEST_F(ServerTest, ConnectionCloseIsHonoured) {
  EXPECT_EQ(client_.Request(Get("/health", "Connection: close\r\n")).headers.Get("Connection"), "close");
  EXPECT_TRUE(client_.AtEnd());
}

TEST_F(ServerTest, HeadHasTheLengthAndNoBody) {
  client_.Send("HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const RawResponse response = client_.ReadResponse(/*head_only=*/true);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.Get("Content-Length"), "2");
  client_.Send("HEAD /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(client_.ReadResponse(true).status, 200);
  EXPECT_EQ(client_.Request(Get("/query?q=a%20b")).body, "a b");
}

TEST_F(ServerTest, DecodesPathAndQuery) {
  EXPECT_EQ(client_.Request(Get("//models//org%2Fname/x%20y/")).body, "org/name/x y");
  EXPECT_EQ(client_.Request(Get("/query?a=1&q=caf%C3%A9+x")).body, "caf\xc3\xa9 x");
  EXPECT_EQ(client_.Request(Get("http://localhost:1/query?q=abs")).body, "abs");
  EXPECT_EQ(client_.Request(Get("/query?q=%zz")).status, 400);
}

TEST_F(ServerTest, UnknownRoutesGetHints) {
  const RawResponse response = client_.Request(Get("/ech"));
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(ErrorCode(response), "route_not_found");
  EXPECT_NE(response.body.find("POST /echo"), std::string::npos) << response.body;
  const RawResponse method = client_.Request("DELETE /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.headers.Get("Allow"), "GET, HEAD, OPTIONS");
  const RawResponse options = client_.Request("OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.headers.Get("Allow"), "POST, OPTIONS");
  EXPECT_EQ(client_.Request("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 204);
}

TEST_F(ServerTest, ASmallRefusedBodyDoesNotCostTheConnection) {
  EXPECT_EQ(client_.Request(Post("/nowhere", "{}")).status, 404);
  const RawResponse plain = client_.Request(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_EQ(plain.status, 415);
  EXPECT_EQ(ErrorCode(plain), "unsupported_media_type");
  EXPECT_EQ(client_.Request("POST /echo-any HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi").body, "hi");
  EXPECT_EQ(client_.Request(Get("/health")).status, 200);
}

TEST_F(ServerTest, RequestIds) {
  EXPECT_EQ(client_.Request(Get("/health", "X-Request-Id: abc-1\r\n")).headers.Get("x-request-id"), "abc-1");
  const RawResponse odd = client_.Request(Get("/health", "X-Request-Id: a b<script>\r\n"));
  EXPECT_TRUE(odd.headers.Get("X-Request-Id").starts_with("req_"));
}

TEST_F(ServerTest, BrokenHandlersGive500AndNothingElse) {
  for (const char* path : {"/throw", "/forget"}) {
    const RawResponse response = client_.Request(Get(path));
    EXPECT_EQ(response.status, 500) << path;
    EXPECT_EQ(ErrorCode(response), "no_answer");
    EXPECT_EQ(response.body.find("broken handler"), std::string::npos);
  }
  const RawResponse injected = client_.Request(Get("/inject"));
  EXPECT_EQ(injected.headers.Find("X-Evil"), nullptr);
  EXPECT_EQ(injected.body, "ok");
  EXPECT_EQ(client_.Request(Get("/health")).status, 200);
}

TEST_F(ServerTest, HalfClosedClientsGetTheirAnswers) {
  client_.Send(Get("/later") + Get("/nothing") + Get("/health"));
  client_.ShutdownWrite();
  EXPECT_EQ(client_.ReadResponse().body, "later");
  EXPECT_EQ(client_.ReadResponse().status, 404);
  EXPECT_EQ(client_.ReadResponse().body, "{}");
  EXPECT_TRUE(client_.AtEnd());
  EXPECT_TRUE(Eventually([&] { return server_.server().num_connections() == 0; }));
}

TEST_F(ServerTest, NotHttp) {
  const struct {
    const char* bytes;
    int status;
  } cases[] = {
      {"hello\r\n\r\n", 400},
      {"GET /health\r\n\r\n", 400},
      {"GET /health HTTP/2.0\r\nHost: x\r\n\r\n", 505},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"G(T / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"GET /health HTTP/1.1\r\n\r\n", 400},
      {"GET health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400},
      {"GET /health HTTP/1.1\nHost: localhost\n\n", 400},
      {"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n", 400},
      {"GET /health HTTP/1.1\r\nHost: localhost\r\nA\x01: b\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
      {"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400},
      {"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity\r\n\r\n", 501},
      {"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST /echo-any HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400},
      {"GET /health HTTP/1.1\r\nHost: localhost\r\nExpect: miracle\r\n\r\n", 417},
      {"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"BREW /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
      {"\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 200},
  };
  for (const auto& item : cases) {
    RawClient client(server_.port());
    const RawResponse response = client.Request(item.bytes);
    EXPECT_EQ(response.status, item.status) << item.bytes;
    EXPECT_TRUE(ParseJson(response.body).ok()) << response.body;
  }
  EXPECT_EQ(client_.Request(Get("/health")).status, 200);
}

TEST_F(ServerTest, ExpectContinue) {
  client_.Send(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(client_.ReadResponse().status, 100);
  client_.Send("{}");
  EXPECT_EQ(client_.ReadResponse().body, "{}");
  client_.Send("POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client_.ReadResponse().status, 404);
}

TEST_F(ServerTest, ChecksHostAndOrigin) {
  RawClient rebound(server_.port());
  const RawResponse host = rebound.Request("GET /health HTTP/1.1\r\nHost: evil.com\r\n\r\n");
  EXPECT_EQ(host.status, 403);
  EXPECT_EQ(ErrorCode(host), "host_not_allowed");
  const RawResponse origin = client_.Request(Post("/echo", "{}", "Origin: http://evil.com\r\n"));
  EXPECT_EQ(origin.status, 403);
  EXPECT_EQ(origin.headers.Find("Access-Control-Allow-Origin"), nullptr);
  const RawResponse allowed = client_.Request(Get("/nothing", "Origin: http://localhost:3000\r\n"));
  EXPECT_EQ(allowed.status, 404);
  EXPECT_EQ(allowed.headers.Get("Access-Control-Allow-Origin"), "http://localhost:3000");
  const RawResponse preflight = client_.Request(
      "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n"
      "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type, x-a\r\n\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.headers.Get("Access-Control-Allow-Methods"), "POST, OPTIONS");
  EXPECT_EQ(preflight.headers.Get("Access-Control-Allow-Headers"), "content-type, x-a");
  EXPECT_EQ(preflight.headers.Get("Access-Control-Allow-Origin"), "http://localhost:3000");
}

TEST(ServerOptionsTest, ErrorsTakeTheDialectsShape) {
  ServerOptions options;
  options.error_formatter = [](const HttpError& error) {
    return Response::Text(error.status, error.path + "|" + error.code);
  };
  TestServer server(EchoRouter(), std::move(options));
  RawClient client(server.port());
  EXPECT_EQ(client.Request(Get("/api/x")).body, "/api/x|route_not_found");
  EXPECT_EQ(client.Request(Get("/forget")).body, "/forget|no_answer");
}

TEST(ServerOptionsTest, ReportsEachExchange) {
  std::mutex mutex;
  std::vector<ExchangeSummary> summaries;
  ServerOptions options;
  options.on_exchange_end = [&](const ExchangeSummary& summary) {
    const std::lock_guard lock(mutex);
    summaries.push_back(summary);
  };
  TestServer server(EchoRouter(), std::move(options));
  RawClient client(server.port());
  client.Request(Get("/models/a/b"));
  client.Request(Get("/nothing"));
  client.Request(Get("/stream"));
  client.Request("rubbish\r\n\r\n");
  server.server().Stop();
  ASSERT_EQ(summaries.size(), 4u);
  EXPECT_EQ(summaries[0].route, "/models/{id*}");
  EXPECT_EQ(summaries[0].path, "/models/a/b");
  EXPECT_EQ(summaries[0].sent_bytes, 3u);
  EXPECT_GT(summaries[0].duration.count(), 0);
  EXPECT_TRUE(summaries[0].remote_address.starts_with("127.0.0.1:"));
  EXPECT_EQ(summaries[1].route, "");
  EXPECT_EQ(summaries[1].status, 404);
  EXPECT_EQ(summaries[2].sent_bytes, 35u);
  EXPECT_EQ(summaries[3].status, 400);
}

TEST(ServerListenTest, SaysWhyItCannotListen) {
  Server first({}, EchoRouter());
  const Result<uint16_t> port = first.Listen("127.0.0.1", 0);
  ASSERT_TRUE(port.ok());
  EXPECT_GT(*port, 0);
  Server second({}, EchoRouter());
  const Status in_use = second.Listen("127.0.0.1", *port).status();
  EXPECT_EQ(in_use.code(), StatusCode::kAlreadyExists);
  EXPECT_NE(in_use.message().find(fmt::format("127.0.0.1:{}", *port)), std::string::npos) << in_use.message();
  EXPECT_EQ(second.Listen("no.such.host.invalid", 0).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(second.Listen("192.0.2.1", 0).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(second.Listen("localhost", 0).ok());
}

TEST(ServerListenTest, SeveralListenersAndThreads) {
  ServerOptions options;
  options.num_io_threads = 3;
  Server server(std::move(options), EchoRouter());
  const Result<uint16_t> one = server.Listen("127.0.0.1", 0);
  const Result<uint16_t> two = server.Listen("127.0.0.1", 0);
  ASSERT_TRUE(one.ok() && two.ok());
  ASSERT_TRUE(server.Start().ok());
  for (int i = 0; i < 9; ++i) {
    RawClient client(i % 2 == 0 ? *one : *two);
    EXPECT_EQ(client.Request(Get("/later")).body, "later");
  }
}

}  // namespace
}  // namespace lem::http
