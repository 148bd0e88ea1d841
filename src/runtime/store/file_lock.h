// An exclusive lock between processes on a lock file. The kernel drops it when the process ends, however it ends.
#pragma once

#include <filesystem>
#include <functional>

#include "base/status.h"
#include "request/request.h"
#include "runtime/store/disk.h"

namespace lem {

class FileLock {
 public:
  // Waits for the lock, creating the file if needed. `on_wait`, which may be empty, is called once if someone else has
  // it. Works also while others remove the lock file and its folder: the lock returned is on the file now at `path`.
  // Errors: Cancelled, NotFound (no such folder), PermissionDenied, Internal.
  static Result<FileLock> Acquire(const std::filesystem::path& path, const CancelToken& cancel,
                                  const std::function<void()>& on_wait);

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  FileDescriptor fd_;
};

}  // namespace lem
