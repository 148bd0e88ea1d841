#include "http/listening_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string_view>

namespace lem::http {
namespace {

// The address of a socket, whatever its family.
struct Address {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);

  template <typename Kind>
  Kind As() const {
    Kind address{};
    std::memcpy(&address, &storage, sizeof(address));
    return address;
  }
};

Result<Address> LocalAddress(int fd) {
  Address address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.size) == 0) return address;
  return InvalidArgument("descriptor {} is no socket: {}", fd, std::strerror(errno));
}

template <int kFamily, typename Bytes>
std::string AddressText(const Bytes& bytes) {
  char text[INET6_ADDRSTRLEN] = "";
  return ::inet_ntop(kFamily, &bytes, text, sizeof(text)) == nullptr ? "unknown" : text;
}

int NewUnixSocket() { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }

// True if somebody takes connections there, or would if there were not so many.
bool IsListenedOn(const sockaddr_un& address) {
  const int fd = NewUnixSocket();
  if (fd < 0) return true;
  const bool is_refused = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 &&
                          (errno == ECONNREFUSED || errno == ENOENT);
  ::close(fd);
  return !is_refused;
}

Status ClearTheWay(const std::filesystem::path& path, const sockaddr_un& address) {
  struct stat found{};
  if (::lstat(path.c_str(), &found) != 0) return OkStatus();
  if (!S_ISSOCK(found.st_mode)) {
    return AlreadyExists("cannot listen on {}: it is there and no socket; give another path or remove it",
                         path.string());
  }
  if (IsListenedOn(address)) {
    return AlreadyExists("cannot listen on {}: another program does; stop that one or give another path",
                         path.string());
  }
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return OkStatus();
  return PermissionDenied("cannot replace the socket {} that nobody listens on: {}", path.string(),
                          std::strerror(errno));
}

}  // namespace

Result<UnixSocketFile> UnixSocketFile::Listen(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& name = path.native();
  if (name.empty() || name.size() >= sizeof(address.sun_path)) {
    return InvalidArgument("cannot listen on '{}': the path of a Unix socket has 1 to {} bytes, this has {}", name,
                           sizeof(address.sun_path) - 1, name.size());
  }
  std::memcpy(address.sun_path, name.data(), name.size());
  LEM_TRY(ClearTheWay(path, address));
  const int fd = NewUnixSocket();
  if (fd < 0) return ResourceExhausted("cannot make a socket: {}", std::strerror(errno));
  UnixSocketFile file({}, fd);
  // The file gets the socket's mode when it is made: nobody else can connect, not even for a moment.
  const bool is_bound = ::fchmod(fd, S_IRUSR | S_IWUSR) == 0 &&
                        ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  struct stat made{};
  if (!is_bound || ::lstat(name.c_str(), &made) != 0) {
    return PermissionDenied("cannot listen on {}: {}; give a path in a folder that you may write to", name,
                            std::strerror(errno));
  }
  file.path_ = path;
  file.device_ = made.st_dev;
  file.inode_ = made.st_ino;
  if (::chmod(name.c_str(), S_IRUSR | S_IWUSR) == 0 && ::listen(fd, SOMAXCONN) == 0) return file;
  return PermissionDenied("cannot listen on {}: {}", name, std::strerror(errno));
}

UnixSocketFile::UnixSocketFile(UnixSocketFile&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      fd_(std::exchange(other.fd_, -1)),
      device_(other.device_),
      inode_(other.inode_) {}

UnixSocketFile& UnixSocketFile::operator=(UnixSocketFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(device_, other.device_);
  std::swap(inode_, other.inode_);
  return *this;
}

UnixSocketFile::~UnixSocketFile() {
  if (fd_ >= 0) ::close(fd_);
  struct stat found{};
  if (path_.empty() || ::lstat(path_.c_str(), &found) != 0) return;
  if (found.st_dev == device_ && found.st_ino == inode_) (void)::unlink(path_.c_str());
}

Result<ListeningSocket> DescribeListeningSocket(int fd) {
  LEM_ASSIGN_OR_RETURN(const Address address, LocalAddress(fd));
  int is_listening = 0;
  int type = 0;
  socklen_t size = sizeof(int);
  const bool is_known = ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) == 0 &&
                        ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
  if (!is_known || is_listening == 0 || type != SOCK_STREAM) {
    return InvalidArgument("descriptor {} is no stream socket that listens", fd);
  }
  ListeningSocket socket{.family = address.storage.ss_family};
  switch (socket.family) {
    case AF_INET: {
      const auto in = address.As<sockaddr_in>();
      socket.host = AddressText<AF_INET>(in.sin_addr);
      socket.name = fmt::format("{}:{}", socket.host, ntohs(in.sin_port));
      return socket;
    }
    case AF_INET6: {
      const auto in6 = address.As<sockaddr_in6>();
      socket.host = AddressText<AF_INET6>(in6.sin6_addr);
      socket.name = fmt::format("[{}]:{}", socket.host, ntohs(in6.sin6_port));
      return socket;
    }
    case AF_UNIX: {
      const auto un = address.As<sockaddr_un>();
      socket.name = std::string(un.sun_path, ::strnlen(un.sun_path, sizeof(un.sun_path)));
      return socket;
    }
    default:
      return InvalidArgument("descriptor {} is a socket of family {}; it must be TCP or Unix", fd, socket.family);
  }
}

Result<uint16_t> PortOf(int fd) {
  LEM_ASSIGN_OR_RETURN(const Address address, LocalAddress(fd));
  return address.storage.ss_family == AF_INET6 ? ntohs(address.As<sockaddr_in6>().sin6_port)
                                               : ntohs(address.As<sockaddr_in>().sin_port);
}

}  // namespace lem::http
