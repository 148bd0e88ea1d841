#include "runtime/store/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>

namespace lem {

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

uint64_t Disk::FreeBytes(const std::filesystem::path& folder) {
  struct statvfs info{};
  if (::statvfs(folder.c_str(), &info) != 0) return std::numeric_limits<uint64_t>::max();
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

ssize_t Disk::Write(int fd, std::span<const std::byte> bytes) { return ::write(fd, bytes.data(), bytes.size()); }

int Disk::Sync(int fd) { return ::fsync(fd); }

int Disk::Rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  return ::rename(from.c_str(), to.c_str());
}

Disk& Disk::Real() {
  static Disk disk;
  return disk;
}

Status DiskError(int error, std::string_view action, const std::filesystem::path& path) {
  const std::string text = fmt::format("cannot {} {}: {}", action, path.string(), std::strerror(error));
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return ResourceExhausted("{}", text);
    case ENOENT:
    case ENOTDIR:
      return NotFound("{}", text);
    case EACCES:
    case EPERM:
    case EROFS:
      return PermissionDenied("{}", text);
    default:
      return Internal("{}", text);
  }
}

Status WriteAll(Disk& disk, int fd, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = disk.Write(fd, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return DiskError(errno, "write", path);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return OkStatus();
}

Status SyncFolder(Disk& disk, const std::filesystem::path& folder) {
  const FileDescriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return DiskError(errno, "open", folder);
  return disk.Sync(fd.get()) == 0 ? OkStatus() : DiskError(errno, "sync", folder);
}

Result<FileFacts> FactsOf(const std::filesystem::path& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return DiskError(errno, "open", path);
  if (!S_ISREG(info.st_mode)) return InvalidArgument("{} is not a regular file", path.string());
  return FileFacts{static_cast<uint64_t>(info.st_size),
                   static_cast<int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec};
}

Status MakeFolders(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  return error ? DiskError(error.value(), "make the folder", folder) : OkStatus();
}

}  // namespace lem
