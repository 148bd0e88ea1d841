// The calls that can fail for want of disk, behind an interface so that tests can make each of them fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace lem {

// Closes a file descriptor at the end of its scope.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor();
  int get() const { return fd_; }

 private:
  int fd_;
};

class Disk {
 public:
  virtual ~Disk() = default;
  // As statvfs, write, fsync and rename: -1 and errno on failure, and Write may write less than asked. FreeBytes is
  // what an ordinary user may still write; the most there can be if that is not known.
  virtual uint64_t FreeBytes(const std::filesystem::path& folder);
  virtual ssize_t Write(int fd, std::span<const std::byte> bytes);
  virtual int Sync(int fd);
  virtual int Rename(const std::filesystem::path& from, const std::filesystem::path& to);

  static Disk& Real();
};

// A Status for errno `error` that says what failed; a full disk or quota is ResourceExhausted.
Status DiskError(int error, std::string_view action, const std::filesystem::path& path);

// Writes all of it. Errors: ResourceExhausted (disk full), Internal.
Status WriteAll(Disk& disk, int fd, std::span<const std::byte> bytes, const std::filesystem::path& path);

// Syncs a folder, so that a rename in it survives a power cut.
Status SyncFolder(Disk& disk, const std::filesystem::path& folder);

struct FileFacts {
  uint64_t size_bytes = 0;
  int64_t mtime_ns = 0;
};

// Errors: NotFound, PermissionDenied, InvalidArgument (not a regular file).
Result<FileFacts> FactsOf(const std::filesystem::path& path);

// Makes the folder and those above it. Errors: PermissionDenied, ResourceExhausted, Internal.
Status MakeFolders(const std::filesystem::path& folder);

}  // namespace lem
