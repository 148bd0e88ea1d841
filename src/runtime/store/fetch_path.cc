// Source: a file on this machine.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

#include "runtime/store/fetch.h"

namespace lem {

namespace fs = std::filesystem;

fs::path ExpandHome(const std::string& path) {
  const char* home = std::getenv("HOME");
  if (!path.starts_with("~/") || home == nullptr) return path;
  return fs::path(home) / path.substr(2);
}

Status FetchPath(const PathSource& source, const FetchContext& context) {
  const fs::path path = ExpandHome(source.path);
  PartialFile& partial = context.partial;
  // Read, not mapped: someone may truncate the file meanwhile. O_NONBLOCK so that a FIFO cannot hold us.
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info{};
  if (fd.get() < 0 || ::fstat(fd.get(), &info) != 0) return DiskError(errno, "open", path);
  if (!S_ISREG(info.st_mode)) return InvalidArgument("{} is not a regular file", path.string());
  if (static_cast<uint64_t>(info.st_size) != partial.expected_bytes()) {
    return DataLoss("{} has {} bytes; the model has {}", path.string(), info.st_size, partial.expected_bytes());
  }
  std::vector<std::byte> buffer(size_t{4} << 20);
  while (true) {
    if (context.cancel.cancelled()) return Cancelled("stopped while copying {}", path.string());
    const ssize_t n = ::pread(fd.get(), buffer.data(), buffer.size(), static_cast<off_t>(partial.size_bytes()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return DiskError(errno, "read", path);
    if (n == 0) return OkStatus();
    LEM_TRY(partial.Append(std::span(buffer).first(static_cast<size_t>(n))));
    context.on_bytes(partial.size_bytes());
  }
}

}  // namespace lem
