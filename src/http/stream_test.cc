// Streams over real sockets: disconnects, slow readers, many at once, drain.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

#include "http/server.h"
#include "http/sse.h"
#include "http/testing_socket.h"

namespace lem::http {
namespace {

using SteadyClock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// Hands the streams that clients open, and the time of their end, to the test.
class StreamDesk {
 public:
  Router MakeRouter() {
    Router router;
    router.Add("GET", "/health", [](const Request&) { return Response::Text(200, "ok"); },
               {.run_on = RunOn::kIoThread});
    router.Add("GET", "/stream", [this](Request, Responder responder) { Open(responder); });
    router.Add("GET", "/wait", [this](Request, Responder responder) {
      const std::lock_guard lock(mutex_);
      responder.OnDisconnect([this] { NoteDisconnect(); });
      waiting_.push_back(responder);
      changed_.notify_all();
    });
    return router;
  }

  std::shared_ptr<EventStream> WaitForStream(size_t idx = 0) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return streams_.size() > idx; }));
    return streams_.at(idx);
  }
  std::optional<Responder> WaitForResponder() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [&] { return !waiting_.empty(); })) return std::nullopt;
    Responder responder = waiting_.back();
    waiting_.clear();
    return responder;
  }
  SteadyClock::time_point WaitForDisconnect(size_t count = 1) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return disconnects_.size() >= count; }));
    return disconnects_.empty() ? SteadyClock::time_point::max() : disconnects_.back();
  }
  size_t num_disconnects() {
    const std::lock_guard lock(mutex_);
    return disconnects_.size();
  }
  void DropStreams() {
    const std::lock_guard lock(mutex_);
    streams_.clear();
  }

 private:
  void Open(const Responder& responder) {
    responder.OnDisconnect([this] { NoteDisconnect(); });
    auto stream = responder.StartStream(200, SseHeaders());
    const std::lock_guard lock(mutex_);
    streams_.push_back(std::move(stream));
    changed_.notify_all();
  }
  void NoteDisconnect() {
    const std::lock_guard lock(mutex_);
    disconnects_.push_back(SteadyClock::now());
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<EventStream>> streams_;
  std::vector<Responder> waiting_;
  std::vector<SteadyClock::time_point> disconnects_;
};

class StreamTest : public ::testing::Test {
 protected:
  void StartServer(ServerOptions options = {}) { server_.emplace(desk_.MakeRouter(), std::move(options)); }

  StreamDesk desk_;
  std::optional<TestServer> server_;
};

enum class Leave { kFin, kReset };

TEST_F(StreamTest, SendsTheHeadAtOnceAndEachEventAsItComes) {
  StartServer();
  RawClient client(server_->port());
  client.Send(Get("/stream"));
  EXPECT_NE(client.ReadThrough("\r\n\r\n").find("200 OK"), std::string::npos);
  const auto stream = desk_.WaitForStream();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(stream->Write(SseEvent(std::to_string(i))));
    EXPECT_EQ(client.ReadChunk(), fmt::format("data: {}\n\n", i));
  }
  stream->Finish();
  EXPECT_FALSE(stream->Write("more"));
  EXPECT_EQ(client.ReadThrough("\r\n\r\n"), "0\r\n\r\n");
  EXPECT_EQ(client.Request(Get("/health")).body, "ok");
  EXPECT_EQ(desk_.num_disconnects(), 0u);
}

// The client leaves while nothing is being written. The median is what the promise of 100 ms is about: single runs may
// be held up by other programs.
TEST_F(StreamTest, NoticesAClientThatLeaves) {
  StartServer();
  constexpr size_t kRuns = 11;
  for (const char* path : {"/stream", "/wait"}) {
    for (const Leave how : {Leave::kFin, Leave::kReset}) {
      std::vector<double> delays_ms;
      for (size_t run = 0; run < kRuns; ++run) {
        const size_t before = desk_.num_disconnects();
        RawClient client(server_->port());
        client.Send(Get(path));
        std::optional<Responder> responder;
        if (path == std::string_view("/stream")) {
          client.ReadThrough("\r\n\r\n");
        } else {
          responder = desk_.WaitForResponder();
          ASSERT_TRUE(responder);
        }
        const auto left_at = SteadyClock::now();
        how == Leave::kFin ? client.Close() : client.Reset();
        const auto noticed_at = desk_.WaitForDisconnect(before + 1);
        delays_ms.push_back(std::chrono::duration<double, std::milli>(noticed_at - left_at).count());
        if (responder) EXPECT_TRUE(responder->disconnected());
      }
      std::nth_element(delays_ms.begin(), delays_ms.begin() + kRuns / 2, delays_ms.end());
      EXPECT_LT(delays_ms[kRuns / 2], 100.0) << path;
    }
  }
  EXPECT_FALSE(desk_.WaitForStream()->Write("x"));
  EXPECT_TRUE(Eventually([&] { return server_->server().num_connections() <= kRuns; }));
}

TEST_F(StreamTest, APipelinedRequestDoesNotHideTheEnd) {
  StartServer();
  RawClient client(server_->port());
  client.Send(Get("/stream") + Get("/health"));
  client.ReadThrough("\r\n\r\n");
  client.Close();
  desk_.WaitForDisconnect();
}

TEST_F(StreamTest, CallsBackOnceAndOnlyBeforeTheEnd) {
  StartServer();
  {
    RawClient client(server_->port());
    client.Send(Get("/wait"));
    const auto responder = desk_.WaitForResponder();
    ASSERT_TRUE(responder);
    responder->Send(Response::Text(200, "done"));
    EXPECT_EQ(client.ReadResponse().body, "done");
  }
  EXPECT_TRUE(Eventually([&] { return server_->server().num_connections() == 0; }));
  EXPECT_EQ(desk_.num_disconnects(), 0u);

  RawClient client(server_->port());
  client.Send(Get("/wait"));
  const auto responder = desk_.WaitForResponder();
  ASSERT_TRUE(responder);
  client.Close();
  desk_.WaitForDisconnect();
  // Registered too late: called at once.
  bool called = false;
  responder->OnDisconnect([&] { called = true; });
  EXPECT_TRUE(called);
  responder->Send(Response::Text(200, "to nobody"));
  EXPECT_EQ(desk_.num_disconnects(), 1u);
}

TEST_F(StreamTest, ASlowReaderHoldsUpNobodyAndIsGivenUp) {
  ServerOptions options;
  options.max_buffered_bytes = 4 << 20;
  StartServer(std::move(options));
  RawClient slow(server_->port());
  slow.SetReceiveBuffer(4096);
  slow.Send(Get("/stream"));
  const auto stream = desk_.WaitForStream();
  const std::string event = SseEvent(std::string(1000, 'x'));
  size_t num_written = 0;
  RawClient other(server_->port());
  while (stream->Write(event)) {
    if (++num_written % 1000 == 0) EXPECT_EQ(other.Request(Get("/health")).body, "ok");
    EXPECT_LE(stream->buffered_bytes(), size_t{4} << 20);
    ASSERT_LT(num_written, 100000u);
  }
  EXPECT_GT(num_written * event.size(), size_t{4} << 20);
  desk_.WaitForDisconnect();
  EXPECT_TRUE(Eventually([&] { return server_->server().num_connections() == 1; }));
}

TEST_F(StreamTest, AReaderThatStallsIsClosed) {
  ServerOptions options;
  options.timeouts.slow_reader = 200ms;
  StartServer(std::move(options));
  RawClient slow(server_->port());
  slow.SetReceiveBuffer(4096);
  slow.Send(Get("/stream"));
  const auto stream = desk_.WaitForStream();
  // More than the kernel's buffers hold, less than the stream's cap.
  const auto start = SteadyClock::now();
  EXPECT_TRUE(stream->Write(std::string(size_t{12} << 20, 'x')));
  desk_.WaitForDisconnect();
  EXPECT_GE(SteadyClock::now() - start, 200ms);
}

TEST_F(StreamTest, AReaderThatCrawlsIsClosed) {
  ServerOptions options;
  options.timeouts.slow_reader = 500ms;
  StartServer(std::move(options));
  RawClient slow(server_->port());
  slow.Send(Get("/stream"));
  const auto stream = desk_.WaitForStream();
  EXPECT_TRUE(stream->Write(std::string(size_t{15} << 20, 'x')));
  // Takes some 1 MB a second: never stalls, yet more than slow_reader_bytes wait all the time.
  std::thread reader([&slow] {
    while (slow.Fill()) std::this_thread::sleep_for(10ms);
  });
  desk_.WaitForDisconnect();
  reader.join();
}

TEST_F(StreamTest, TwoHundredStreamsAtOnce) {
  ServerOptions options;
  options.num_io_threads = 2;
  StartServer(std::move(options));
  constexpr size_t kNumStreams = 200;
  constexpr int kNumEvents = 50;
  std::vector<RawClient> clients;
  for (size_t i = 0; i < kNumStreams; ++i) {
    clients.emplace_back(server_->port());
    clients.back().Send(Get("/stream"));
  }
  desk_.WaitForStream(kNumStreams - 1);
  std::thread producer([&] {
    for (int event = 0; event < kNumEvents; ++event) {
      for (size_t i = 0; i < kNumStreams; ++i) {
        EXPECT_TRUE(desk_.WaitForStream(i)->Write(SseEvent(std::to_string(event))));
      }
    }
    for (size_t i = 0; i < kNumStreams; ++i) desk_.WaitForStream(i)->Finish();
  });
  std::string expected;
  for (int event = 0; event < kNumEvents; ++event) expected += SseEvent(std::to_string(event));
  for (RawClient& client : clients) {
    const RawResponse response = client.ReadResponse();
    EXPECT_TRUE(response.complete);
    EXPECT_EQ(response.body, expected);
  }
  producer.join();
}

TEST_F(StreamTest, ManyLeaveWhileProducersWrite) {
  ServerOptions options;
  options.num_io_threads = 2;
  StartServer(std::move(options));
  constexpr size_t kNumStreams = 60;
  std::vector<RawClient> clients;
  for (size_t i = 0; i < kNumStreams; ++i) {
    clients.emplace_back(server_->port());
    clients.back().Send(Get("/stream"));
  }
  desk_.WaitForStream(kNumStreams - 1);
  std::vector<std::thread> producers;
  for (size_t p = 0; p < 3; ++p) {
    producers.emplace_back([&, p] {
      for (size_t i = p; i < kNumStreams; i += 3) {
        while (desk_.WaitForStream(i)->Write("data: x\n\n")) std::this_thread::yield();
      }
    });
  }
  for (size_t i = 0; i < kNumStreams; ++i) i % 2 == 0 ? clients[i].Close() : clients[i].Reset();
  for (std::thread& producer : producers) producer.join();
  desk_.WaitForDisconnect(kNumStreams);
  EXPECT_EQ(desk_.num_disconnects(), kNumStreams);
}

TEST_F(StreamTest, DrainLetsStreamsFinish) {
  StartServer();
  RawClient idle(server_->port());
  idle.Request(Get("/health"));
  RawClient client(server_->port());
  client.Send(Get("/stream"));
  const auto stream = desk_.WaitForStream();
  std::thread drain([&] { server_->server().Drain(SteadyClock::now() + kPatience); });
  EXPECT_TRUE(idle.AtEnd());  // closed at once
  EXPECT_TRUE(stream->Write("data: last\n\n"));
  stream->Finish();
  drain.join();
  const RawResponse response = client.ReadResponse();
  EXPECT_TRUE(response.complete);
  EXPECT_EQ(response.body, "data: last\n\n");
  EXPECT_TRUE(client.AtEnd());
  EXPECT_EQ(desk_.num_disconnects(), 0u);
}

TEST_F(StreamTest, DrainBreaksOffAtTheDeadline) {
  StartServer();
  RawClient client(server_->port());
  client.Send(Get("/stream"));
  const auto stream = desk_.WaitForStream();
  const auto start = SteadyClock::now();
  server_->server().Drain(start + 100ms);
  EXPECT_GE(SteadyClock::now() - start, 100ms);
  EXPECT_LT(SteadyClock::now() - start, kPatience);
  EXPECT_EQ(desk_.num_disconnects(), 1u);
  EXPECT_FALSE(stream->Write("late"));
  EXPECT_FALSE(client.ReadResponse().complete);
}

TEST_F(StreamTest, HandlesMayOutliveTheServer) {
  StartServer();
  RawClient streaming(server_->port());
  streaming.Send(Get("/stream"));
  RawClient waiting(server_->port());
  waiting.Send(Get("/wait"));
  const auto stream = desk_.WaitForStream();
  const auto responder = desk_.WaitForResponder();
  server_.reset();
  ASSERT_TRUE(responder);
  EXPECT_TRUE(responder->disconnected());
  responder->Send(Response::Text(200, "too late"));
  EXPECT_FALSE(stream->Write("x"));
  stream->Finish();
}

}  // namespace
}  // namespace lem::http
