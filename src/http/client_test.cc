// The client against the program's own server and against one that misbehaves on purpose.
#include "http/client.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <optional>
#include <vector>

#include "base/file.h"
#include "http/server.h"
#include "http/testing_socket.h"

namespace lem::http {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
  return text;
}

// Sends one canned answer to each connection and closes it.
class CannedServer {
 public:
  explicit CannedServer(std::vector<std::string> answers) : answers_(std::move(answers)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_, 16), 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~CannedServer() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  std::string Url(std::string_view path = "/") const { return fmt::format("http://127.0.0.1:{}{}", port_, path); }
  std::string request(size_t idx) {
    const std::lock_guard lock(mutex_);
    return idx < requests_.size() ? requests_[idx] : "";
  }

 private:
  void Run() {
    for (const std::string& answer : answers_) {
      const int client = ::accept(fd_, nullptr, nullptr);
      if (client < 0) return;
      std::string request;
      char chunk[4096];
      while (request.find("\r\n\r\n") == std::string::npos) {
        const ssize_t n = ::recv(client, chunk, sizeof(chunk), 0);
        if (n <= 0) break;
        request.append(chunk, static_cast<size_t>(n));
      }
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      ::send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
      ::shutdown(client, SHUT_WR);
      while (::recv(client, chunk, sizeof(chunk), 0) > 0) {
      }
      ::close(client);
    }
  }

  const std::vector<std::string> answers_;
  int fd_ = -1;
  uint16_t port_ = 0;
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

// Serves /file with ranges, and what else the tests need.
class ClientTest : public ::testing::Test {
 protected:
  ClientTest() {
    ::setenv("no_proxy", "127.0.0.1,localhost", 1);
    dir_ = fs::temp_directory_path() / fmt::format("lem-client-test-{}", ::getpid());
    fs::create_directories(dir_);
    Router router;
    router.Add("GET", "/file", [this](const Request& request) { return ServeFile(request); });
    router.Add("GET", "/redirect/{count}", [](const Request& request) {
      const int count = std::stoi(std::string(request.PathParam("count")));
      const std::string to = count == 0 ? "/file" : fmt::format("/redirect/{}", count - 1);
      return Response{302, {{"Location", to}}, "moved"};
    });
    router.Add("GET", "/to", [](const Request& request) {
      return Response{307, {{"Location", std::string(request.QueryParam("url").value_or(""))}}, ""};
    });
    router.Add("GET", "/echo-auth", [](const Request& request) {
      return Response::Text(200, std::string(request.headers.Get("Authorization")));
    });
    router.Add("GET", "/status/{status}", [](const Request& request) {
      return Response::Text(std::stoi(std::string(request.PathParam("status"))), "secret text of the error");
    });
    router.Add("GET", "/endless", [](Request, Responder responder) {
      auto stream = responder.StartStream(200, {});
      while (stream->Write(std::string(65536, 'x'))) std::this_thread::sleep_for(1ms);
    });
    router.Add("GET", "/drip", [](Request, Responder responder) {
      auto stream = responder.StartStream(200, {});
      while (stream->Write("x")) std::this_thread::sleep_for(50ms);
    });
    server_.emplace(std::move(router));
  }
  ~ClientTest() override {
    server_.reset();
    fs::remove_all(dir_);
  }

  Response ServeFile(const Request& request) {
    const std::lock_guard lock(mutex_);
    ++num_requests_;
    Response response{200, {{"ETag", etag_}}, content_};
    uint64_t first = 0;
    const std::string range(request.headers.Get("Range"));
    if (range.empty() || request.headers.Get("If-Range") != etag_) return response;
    std::from_chars(range.data() + 6, range.data() + range.size(), first);
    if (first >= content_.size()) return {416, {{"Content-Range", fmt::format("bytes */{}", content_.size())}}, ""};
    response.status = 206;
    response.headers.Add("Content-Range", fmt::format("bytes {}-{}/{}", first, content_.size() - 1, content_.size()));
    response.body = content_.substr(first);
    return response;
  }
  // As a download that broke off after `size` bytes would have left it.
  void LeavePart(size_t size, const std::string& validator) const {
    ASSERT_TRUE(WriteFileAtomic(part_, content_.substr(0, size)).ok());
    ASSERT_TRUE(WriteFileAtomic(part_.string() + ".resume", validator).ok());
  }
  std::string Url(std::string_view path) const { return fmt::format("http://127.0.0.1:{}{}", server_->port(), path); }

  std::mutex mutex_;
  std::string etag_ = "\"v1\"";
  std::string content_ = Pattern(3'000'000);
  int num_requests_ = 0;
  fs::path dir_;
  fs::path part_ = fs::temp_directory_path() / fmt::format("lem-client-test-{}", ::getpid()) / "model.part";
  std::optional<TestServer> server_;
};

TEST_F(ClientTest, FetchesIntoMemory) {
  const Result<FetchedBody> fetched = Fetch(Url("/file"));
  ASSERT_TRUE(fetched.ok()) << fetched.status().ToString();
  EXPECT_EQ(fetched->body, content_);
  EXPECT_EQ(fetched->headers.Get("etag"), "\"v1\"");
  EXPECT_EQ(fetched->url, Url("/file"));
}

TEST_F(ClientTest, CapsTheBody) {
  FetchOptions options;
  options.max_bytes = content_.size();
  EXPECT_TRUE(Fetch(Url("/file"), options).ok());
  options.max_bytes = content_.size() - 1;
  EXPECT_EQ(Fetch(Url("/file"), options).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Fetch(Url("/endless"), options).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Download(Url("/endless"), part_, options).status().code(), StatusCode::kResourceExhausted);
  EXPECT_LE(fs::file_size(part_), options.max_bytes);
}

TEST_F(ClientTest, CapsCountDecompressedBytes) {
  // 100,000 zeros in 132 bytes of gzip.
  const std::string bomb =
      std::string("\x1f\x8b\x08\0\0\0\0\0\x02\x03\xed\xc1\x31\x01\0\0\0\xc2\xa0\xf5\x4f\x6d\x0d\x0f\xa0", 25) +
      std::string(96, '\0') + std::string("\x80\x57\x03\x7d\x95\x11\xd4\xa0\x86\x01\0", 11);
  const std::string answer =
      fmt::format("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n{}", bomb.size(), bomb);
  CannedServer server({answer, answer});
  const Result<FetchedBody> whole = Fetch(server.Url());
  ASSERT_TRUE(whole.ok()) << whole.status().ToString();
  EXPECT_EQ(whole->body, std::string(100'000, '\0'));
  FetchOptions options;
  options.max_bytes = 99'999;
  EXPECT_EQ(Fetch(server.Url(), options).status().code(), StatusCode::kResourceExhausted);
}

TEST_F(ClientTest, FollowsFewRedirects) {
  const Result<FetchedBody> near = Fetch(Url("/redirect/4"));
  ASSERT_TRUE(near.ok()) << near.status().ToString();
  EXPECT_EQ(near->url, Url("/file"));
  EXPECT_EQ(near->body, content_);
  const Status far = Fetch(Url("/redirect/5")).status();
  EXPECT_EQ(far.code(), StatusCode::kUnknown);
  EXPECT_THAT(far.message(), HasSubstr("5 redirects"));
}

TEST_F(ClientTest, CredentialsStayWithTheirOrigin) {
  FetchOptions options;
  options.authorization = "Bearer secret";
  EXPECT_EQ(Fetch(Url("/echo-auth"), options)->body, "Bearer secret");
  EXPECT_EQ(Fetch(Url("/to?url=/echo-auth"), options)->body, "Bearer secret");
  // Another host name, another port.
  const std::string other_host = fmt::format("http://localhost:{}/echo-auth", server_->port());
  EXPECT_EQ(Fetch(Url("/to?url=" + other_host), options)->body, "");
  CannedServer other({"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"});
  EXPECT_EQ(Fetch(Url("/to?url=" + other.Url("/x")), options)->body, "ok");
  EXPECT_THAT(other.request(0), Not(HasSubstr("secret")));
  // And those of a URL.
  const std::string with_user = fmt::format("http://me:pass@127.0.0.1:{}/", server_->port());
  EXPECT_THAT(Fetch(with_user + "echo-auth")->body, HasSubstr("Basic "));
  EXPECT_EQ(Fetch(with_user + "to?url=" + other_host)->body, "");
}

TEST_F(ClientTest, RefusesOtherSchemes) {
  for (const char* bad :
       {"file:///etc/passwd", "ftp://localhost/x", "gopher://localhost/", "", "http://", "nonsense"}) {
    EXPECT_EQ(Fetch(bad).status().code(), StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(Fetch(Url("/to?url=file:///etc/passwd")).status().code(), StatusCode::kInvalidArgument);
  FetchOptions injecting;
  injecting.headers = {{"A", "b\r\nC: d"}};
  EXPECT_EQ(Fetch(Url("/file"), injecting).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(ClientTest, MapsStatusesAndShowsNoSecrets) {
  const struct {
    int status;
    StatusCode code;
  } cases[] = {{401, StatusCode::kUnauthenticated},   {403, StatusCode::kPermissionDenied},
               {404, StatusCode::kNotFound},          {410, StatusCode::kNotFound},
               {429, StatusCode::kResourceExhausted}, {500, StatusCode::kUnavailable},
               {503, StatusCode::kUnavailable},       {418, StatusCode::kUnknown}};
  for (const auto& item : cases) {
    const std::string url = fmt::format("http://me:pass@127.0.0.1:{}/status/{}?token=x", server_->port(), item.status);
    const Status status = Fetch(url).status();
    EXPECT_EQ(status.code(), item.code) << item.status;
    EXPECT_THAT(status.message(), HasSubstr(fmt::format("http://127.0.0.1:{}/status/{} answered {}", server_->port(),
                                                        item.status, item.status)));
    for (const char* secret : {"pass", "token", "secret"}) EXPECT_THAT(status.message(), Not(HasSubstr(secret)));
  }
}

TEST_F(ClientTest, SaysWhenAHostCannotBeReached) {
  uint16_t closed_port = 0;
  {
    Server server({}, Router());
    closed_port = *server.Listen("127.0.0.1", 0);
  }
  const Status refused = Fetch(fmt::format("http://127.0.0.1:{}/", closed_port)).status();
  EXPECT_EQ(refused.code(), StatusCode::kUnavailable);
  EXPECT_THAT(refused.message(), HasSubstr(fmt::format("127.0.0.1:{}", closed_port)));
}

TEST_F(ClientTest, GivesUpOnSlowServers) {
  FetchOptions options;
  options.total_timeout = 200ms;
  EXPECT_EQ(Fetch(Url("/drip"), options).status().code(), StatusCode::kDeadlineExceeded);
  options.total_timeout = 0ms;
  options.low_speed_time = 1s;
  EXPECT_EQ(Fetch(Url("/drip"), options).status().code(), StatusCode::kDeadlineExceeded);
}

TEST_F(ClientTest, CanBeCancelled) {
  std::stop_source stop;
  FetchOptions options;
  options.stop = stop.get_token();
  options.max_bytes = uint64_t{1} << 40;
  std::thread canceller([&] {
    std::this_thread::sleep_for(100ms);
    stop.request_stop();
  });
  EXPECT_EQ(Fetch(Url("/drip"), options).status().code(), StatusCode::kCancelled);
  canceller.join();
}

TEST_F(ClientTest, DownloadsToAFile) {
  FetchOptions options;
  std::vector<TransferProgress> seen;
  options.on_progress = [&](const TransferProgress& progress) { seen.push_back(progress); };
  const Result<DownloadedFile> file = Download(Url("/redirect/1"), part_, options);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->size_bytes, content_.size());
  EXPECT_EQ(file->resumed_from, 0u);
  EXPECT_EQ(*ReadFile(part_), content_);
  EXPECT_FALSE(fs::exists(part_.string() + ".resume"));
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back().done_bytes, content_.size());
  EXPECT_EQ(seen.back().total_bytes, content_.size());
}

TEST_F(ClientTest, ResumesTheSameFileOnly) {
  LeavePart(1'000'000, "\"v1\"");
  const Result<DownloadedFile> resumed = Download(Url("/redirect/1"), part_, {});
  ASSERT_TRUE(resumed.ok()) << resumed.status().ToString();
  EXPECT_EQ(resumed->resumed_from, 1'000'000u);
  EXPECT_EQ(*ReadFile(part_), content_);

  // Another version: from the start.
  LeavePart(1'000'000, "\"v0\"");
  const Result<DownloadedFile> changed = Download(Url("/file"), part_, {});
  ASSERT_TRUE(changed.ok()) << changed.status().ToString();
  EXPECT_EQ(changed->resumed_from, 0u);
  EXPECT_EQ(*ReadFile(part_), content_);

  // No validator: nothing can be trusted.
  LeavePart(1'000'000, "");
  EXPECT_EQ(Download(Url("/file"), part_, {})->resumed_from, 0u);

  // Stopped between the last byte and the end: nothing is fetched again.
  LeavePart(content_.size(), "\"v1\"");
  const Result<DownloadedFile> whole = Download(Url("/file"), part_, {});
  ASSERT_TRUE(whole.ok()) << whole.status().ToString();
  EXPECT_EQ(whole->size_bytes, content_.size());

  // A part that is longer than the file.
  content_ += "more";
  LeavePart(content_.size(), "\"v1\"");
  content_.resize(content_.size() - 4);
  const Result<DownloadedFile> longer = Download(Url("/file"), part_, {});
  ASSERT_TRUE(longer.ok()) << longer.status().ToString();
  EXPECT_EQ(*ReadFile(part_), content_);
}

TEST_F(ClientTest, ABrokenDownloadGoesOnNextTime) {
  const std::string head = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 10\r\n\r\n";
  CannedServer server({head + "01234",
                       "HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\nContent-Range: bytes 5-9/10\r\n"
                       "Content-Length: 5\r\n\r\n56",
                       "HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\nContent-Range: bytes 7-9/10\r\n"
                       "Content-Length: 3\r\n\r\n789"});
  for (int i = 0; i < 2; ++i) {
    const Status broken = Download(server.Url(), part_, {}).status();
    EXPECT_EQ(broken.code(), StatusCode::kUnavailable) << broken.ToString();
  }
  const Result<DownloadedFile> file = Download(server.Url(), part_, {});
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->resumed_from, 7u);
  EXPECT_EQ(*ReadFile(part_), "0123456789");
  EXPECT_THAT(server.request(0), Not(HasSubstr("Range")));
  EXPECT_THAT(server.request(1), HasSubstr("Range: bytes=5-\r\n"));
  EXPECT_THAT(server.request(2), HasSubstr("Range: bytes=7-\r\n"));
  EXPECT_THAT(server.request(2), HasSubstr("If-Range: \"a\"\r\n"));
}

TEST_F(ClientTest, RefusesOddRanges) {
  for (const char* range : {"bytes 4-9/10", "bytes 5-9/*", "bytes 5-10/10", "bytes 9-5/10", "5-9/10", ""}) {
    LeavePart(5, "\"a\"");
    CannedServer server(
        {fmt::format("HTTP/1.1 206 Partial Content\r\nContent-Range: {}\r\nContent-Length: 5\r\n\r\n56789", range)});
    EXPECT_EQ(Download(server.Url(), part_, {}).status().code(), StatusCode::kUnavailable) << range;
    EXPECT_EQ(fs::file_size(part_), 5u);
  }
  // A range nobody asked for.
  fs::remove(part_);
  CannedServer server({"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/2\r\nContent-Length: 2\r\n\r\nab"});
  EXPECT_EQ(Download(server.Url(), part_, {}).status().code(), StatusCode::kUnavailable);
}

TEST_F(ClientTest, SaysWhyAFileCannotBeWritten) {
  EXPECT_EQ(Download(Url("/file"), dir_ / "no" / "folder", {}).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace lem::http
