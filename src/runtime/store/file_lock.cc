#include "runtime/store/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

namespace lem {
namespace {

// flock has no time-out, so a cancellable wait has to poll; nobody notices a tenth of a second here.
constexpr std::chrono::milliseconds kPollInterval{100};

// False if the file was removed or replaced after it was opened: its lock excludes nobody.
bool IsStillAt(int fd, const std::filesystem::path& path) {
  struct stat opened{}, named{};
  return ::fstat(fd, &opened) == 0 && ::stat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

}  // namespace

Result<FileLock> FileLock::Acquire(const std::filesystem::path& path, const CancelToken& cancel,
                                   const std::function<void()>& on_wait) {
  bool told = false;
  while (true) {
    FileLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (lock.fd_.get() < 0) return DiskError(errno, "lock", path);
    while (::flock(lock.fd_.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK) return DiskError(errno, "lock", path);
      if (cancel.cancelled()) return Cancelled("cancelled while waiting for {}", path.string());
      if (!told && on_wait) on_wait();
      told = true;
      std::this_thread::sleep_for(kPollInterval);
    }
    if (IsStillAt(lock.fd_.get(), path)) return lock;
  }
}

}  // namespace lem
