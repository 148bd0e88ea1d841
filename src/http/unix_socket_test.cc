// Listening where Asio does not by itself: Unix sockets, and descriptors that are handed over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <fstream>

#include "http/testing_socket.h"

namespace lem::http {
namespace {

using testing::HasSubstr;

class UnixSocketTest : public testing::Test {
 protected:
  UnixSocketTest() { std::filesystem::create_directories(folder_); }
  ~UnixSocketTest() override { std::filesystem::remove_all(folder_); }

  static std::unique_ptr<Server> MakeServer() {
    Router router;
    router.Add("GET", "/who", [](const Request& request) { return Response::Text(200, request.remote_address); });
    return std::make_unique<Server>(ServerOptions{}, std::move(router));
  }

  // What is answered to a request for /who; "" if nobody listens.
  std::string Ask(std::string_view host) const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.native().copy(address.sun_path, sizeof(address.sun_path) - 1);
    std::string answer;
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
      const std::string request = fmt::format("GET /who HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host);
      EXPECT_EQ(::send(fd, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
      char chunk[4096];
      for (ssize_t n = 0; (n = ::recv(fd, chunk, sizeof(chunk), 0)) > 0;) answer.append(chunk, static_cast<size_t>(n));
    }
    ::close(fd);
    return answer;
  }

  // Short, since the path of a Unix socket is.
  const std::filesystem::path folder_ = "/tmp/lem_unix_" + std::to_string(::getpid());
  const std::filesystem::path path_ = folder_ / "socket";
};

TEST_F(UnixSocketTest, ServesOnlyItsOwnerUnderAnyHost) {
  std::unique_ptr<Server> server = MakeServer();
  ASSERT_TRUE(server->ListenOnUnixSocket(path_).ok());
  struct stat status{};
  ASSERT_EQ(::lstat(path_.c_str(), &status), 0);
  EXPECT_TRUE(S_ISSOCK(status.st_mode));
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  ASSERT_TRUE(server->Start().ok());
  EXPECT_THAT(Ask("localhost"), testing::EndsWith("unix"));
  EXPECT_THAT(Ask("lemonade.example"), HasSubstr(" 200 "));
  // Another one does not take it over.
  const Status taken = MakeServer()->ListenOnUnixSocket(path_);
  EXPECT_EQ(taken.code(), StatusCode::kAlreadyExists) << taken.ToString();
  server.reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(UnixSocketTest, ReplacesASocketThatNobodyListensOnAndNothingElse) {
  {
    const int left = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.native().copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(left, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    ::close(left);
  }
  std::unique_ptr<Server> server = MakeServer();
  EXPECT_TRUE(server->ListenOnUnixSocket(path_).ok());
  server.reset();
  std::ofstream(path_) << "a file";
  EXPECT_EQ(MakeServer()->ListenOnUnixSocket(path_).code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
  EXPECT_EQ(MakeServer()->ListenOnUnixSocket(std::string(200, 'a')).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeServer()->ListenOnUnixSocket(folder_ / "none" / "socket").code(), StatusCode::kPermissionDenied);
}

TEST_F(UnixSocketTest, LeavesAFileThatHasTakenItsPlace) {
  std::unique_ptr<Server> server = MakeServer();
  ASSERT_TRUE(server->ListenOnUnixSocket(path_).ok());
  ASSERT_TRUE(server->Start().ok());
  std::filesystem::remove(path_);
  std::ofstream(path_) << "a file";
  server.reset();
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(UnixSocketTest, TakesDescriptorsThatListen) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  std::unique_ptr<Server> server = MakeServer();
  EXPECT_EQ(server->ListenOnDescriptor(fd).status().code(), StatusCode::kInvalidArgument);  // does not listen
  EXPECT_EQ(server->ListenOnDescriptor(9999).status().code(), StatusCode::kInvalidArgument);
  ASSERT_EQ(::listen(fd, 16), 0);
  const Result<std::string> name = server->ListenOnDescriptor(fd);
  ASSERT_TRUE(name.ok()) << name.status().ToString();
  ASSERT_TRUE(name->starts_with("127.0.0.1:"));
  ASSERT_TRUE(server->Start().ok());
  RawClient client(static_cast<uint16_t>(std::stoi(name->substr(10))));
  EXPECT_EQ(client.Request(Get("/who")).status, 200);
}

}  // namespace
}  // namespace lem::http
