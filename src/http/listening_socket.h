// Private to http/: sockets to listen on that Asio does not make: the file of a Unix socket, and what a service manager
// hands over.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include "base/status.h"

namespace lem::http {

// A Unix socket that listens at a path, with mode 0600. The file is removed with the object, unless another has taken
// its place. Moving hands both duties on.
class UnixSocketFile {
 public:
  // A socket in the way that nobody listens on is removed; anything else in the way is an error.
  static Result<UnixSocketFile> Listen(const std::filesystem::path& path);

  UnixSocketFile(UnixSocketFile&& other) noexcept;
  UnixSocketFile& operator=(UnixSocketFile&& other) noexcept;
  ~UnixSocketFile();

  // The caller closes it from now on.
  int ReleaseDescriptor() { return std::exchange(fd_, -1); }

 private:
  UnixSocketFile(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::filesystem::path path_;  // empty: nothing to remove
  int fd_ = -1;
  dev_t device_ = 0;  // of the file, to know it again
  ino_t inode_ = 0;
};

struct ListeningSocket {
  int family = 0;    // AF_INET, AF_INET6, AF_UNIX
  std::string host;  // address; "" for AF_UNIX
  std::string name;  // "127.0.0.1:5366", "[::]:5366", or a path
};

// Errors: InvalidArgument (no stream socket of these families that listens).
Result<ListeningSocket> DescribeListeningSocket(int fd);

// The TCP port that a socket is bound to.
Result<uint16_t> PortOf(int fd);

}  // namespace lem::http
