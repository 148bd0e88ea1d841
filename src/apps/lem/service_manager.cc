#include "apps/lem/service_manager.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "base/log.h"

namespace lem {
namespace {

constexpr int kFirstDescriptor = 3;  // sd_listen_fds(3)
constexpr long kMaxDescriptors = 64;

// NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes the environment while threads run
std::string_view Variable(const char* name) { return std::getenv(name) == nullptr ? "" : std::getenv(name); }

std::optional<long> Number(const char* name) {
  const std::string_view text = Variable(name);
  long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::vector<int> TakeListeningDescriptors() {
  const std::optional<long> pid = Number("LISTEN_PID");
  const std::optional<long> count = Number("LISTEN_FDS");
  // Children shall not take them for theirs.
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
    ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe): before threads start
  }
  std::vector<int> descriptors;
  if (!pid || !count || *pid != ::getpid() || *count < 1 || *count > kMaxDescriptors) return descriptors;
  for (int fd = kFirstDescriptor; fd < kFirstDescriptor + static_cast<int>(*count); ++fd) {
    (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
    descriptors.push_back(fd);
  }
  return descriptors;
}

void NotifyServiceManager(std::string_view state) {
  const std::string_view path = Variable("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // '@' begins an abstract name.
  if (path.size() < 2 || path.size() >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@')) return;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  if (::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), size) < 0) {
    LogWarning("the service manager cannot be told {}: {}", state, std::strerror(errno));
  }
  ::close(fd);
}

Watchdog::Watchdog(std::function<bool(std::chrono::milliseconds)> is_alive) : is_alive_(std::move(is_alive)) {
  const std::optional<long> interval_us = Number("WATCHDOG_USEC");
  const std::optional<long> pid = Number("WATCHDOG_PID");
  if (!interval_us || *interval_us < 2000 || (pid && *pid != ::getpid())) return;
  const std::chrono::milliseconds pause(*interval_us / 2000);
  thread_ = std::thread([this, pause] { Run(pause); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  ended_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::Run(std::chrono::milliseconds pause) {
  std::unique_lock lock(mutex_);
  while (!ended_) {
    lock.unlock();
    if (is_alive_(pause / 2)) NotifyServiceManager("WATCHDOG=1");
    lock.lock();
    ended_changed_.wait_for(lock, pause, [this] { return ended_; });
  }
}

}  // namespace lem
