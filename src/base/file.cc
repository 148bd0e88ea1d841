#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

namespace lem {
namespace {

namespace fs = std::filesystem;

// Closes a file descriptor at the end of its scope.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

Status ErrnoStatus(int error, const fs::path& path, std::string_view action) {
  const std::string text = fmt::format("cannot {} {}: {}", action, path.string(), std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return NotFound("{}", text);
    case EACCES:
    case EPERM:
      return PermissionDenied("{}", text);
    case ENOSPC:
    case EDQUOT:
      return ResourceExhausted("{}", text);
    default:
      return Internal("{}", text);
  }
}

struct OpenedFile {
  int fd;
  uint64_t size_bytes;
};

// O_NONBLOCK so that opening a FIFO cannot hang before the type is known.
Result<OpenedFile> OpenRegular(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return ErrnoStatus(errno, path, "open");
  struct stat info{};
  if (::fstat(fd, &info) != 0) {
    const int error = errno;
    ::close(fd);
    return ErrnoStatus(error, path, "stat");
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return InvalidArgument("{} is {}, not a regular file", path.string(),
                           S_ISDIR(info.st_mode) ? "a folder" : "a special file");
  }
  return OpenedFile{fd, static_cast<uint64_t>(info.st_size)};
}

fs::path XdgDir(const char* variable, const char* default_below_home) {
  if (const char* value = std::getenv(variable); value != nullptr && value[0] == '/')
    return fs::path(value) / "lemonade";
  const char* home = std::getenv("HOME");
  return fs::path(home != nullptr && home[0] != '\0' ? home : "/root") / default_below_home / "lemonade";
}

}  // namespace

Result<MappedFile> MappedFile::Open(const fs::path& path) {
  LEM_ASSIGN_OR_RETURN(const OpenedFile opened, OpenRegular(path));
  const FileDescriptor fd(opened.fd);
  MappedFile file;
  if (opened.size_bytes == 0) return file;
  void* address = ::mmap(nullptr, opened.size_bytes, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (address == MAP_FAILED) return ErrnoStatus(errno, path, "map");
  file.data_ = static_cast<const std::byte*>(address);
  file.size_ = opened.size_bytes;
  return file;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void DropMappedPages(std::span<const std::byte> bytes) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t begin = (first + page - 1) / page * page;
  const uintptr_t end = (first + bytes.size()) / page * page;
  if (end <= begin) return;
  // Mappings may be written to by the system, whatever their type says.
  ::madvise(const_cast<std::byte*>(bytes.data() + (begin - first)), end - begin, MADV_DONTNEED);
}

Result<std::string> ReadFile(const fs::path& path, size_t max_bytes) {
  LEM_ASSIGN_OR_RETURN(const OpenedFile opened, OpenRegular(path));
  const FileDescriptor fd(opened.fd);
  if (opened.size_bytes > max_bytes) {
    return ResourceExhausted("{} has {} bytes; at most {} are read", path.string(), opened.size_bytes, max_bytes);
  }
  std::string content(opened.size_bytes, '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t n = ::read(fd.get(), content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, path, "read");
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  content.resize(done);
  return content;
}

Result<OutputFile> OutputFile::Open(const fs::path& path, Mode mode) {
  const int how = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (mode == Mode::kAppend ? O_APPEND : O_TRUNC);
  const int fd = ::open(path.c_str(), how, 0644);
  if (fd < 0) return ErrnoStatus(errno, path, "create");
  OutputFile file(fd, path, 0);
  struct stat info{};
  if (::fstat(fd, &info) != 0) return ErrnoStatus(errno, path, "stat");
  file.size_bytes_ = static_cast<uint64_t>(info.st_size);
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), size_bytes_(other.size_bytes_) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

Status OutputFile::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, path_, "write");
    size_bytes_ += static_cast<uint64_t>(n);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return OkStatus();
}

Status OutputFile::RestrictToOwner() {
  if (::fchmod(fd_, S_IRUSR | S_IWUSR) != 0) return ErrnoStatus(errno, path_, "restrict access to");
  return OkStatus();
}

Status OutputFile::Sync() {
  if (::fsync(fd_) != 0) return ErrnoStatus(errno, path_, "sync");
  return OkStatus();
}

Status ReplaceFile(const fs::path& path, const std::function<Status(OutputFile&)>& write) {
  // Of this thread alone, in this process and others.
  const fs::path temporary = path.string() + fmt::format(".tmp-{}", ::syscall(SYS_gettid));
  const auto replace = [&]() -> Status {
    {
      LEM_ASSIGN_OR_RETURN(OutputFile file, OutputFile::Open(temporary, OutputFile::Mode::kTruncate));
      LEM_TRY(write(file));
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, path, "rename to");
    return OkStatus();
  };
  Status status = replace();
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

Status WriteFileAtomic(const fs::path& path, std::string_view content) {
  LEM_TRY(ReplaceFile(path, [&](OutputFile& file) -> Status {
    LEM_TRY(file.Write(content));
    return file.Sync();
  }));
  const FileDescriptor folder(::open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0) ::fsync(folder.get());
  return OkStatus();
}

void PruneFolder(const fs::path& folder, uint64_t max_bytes) {
  struct File {
    fs::file_time_type used;
    uint64_t bytes = 0;
    fs::path path;
  };
  std::vector<File> files;
  uint64_t total = 0;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    File file{.used = entry.last_write_time(error), .bytes = entry.file_size(error), .path = entry.path()};
    if (error) continue;  // another process has removed it
    total += file.bytes;
    files.push_back(std::move(file));
  }
  std::ranges::sort(files, {}, &File::used);
  for (const File& file : files) {
    if (total <= max_bytes) return;
    if (fs::remove(file.path, error)) total -= file.bytes;
  }
}

fs::path DataDir() {
  if (const char* value = std::getenv("LEM_DATA_DIR"); value != nullptr && value[0] != '\0') return value;
  return XdgDir("XDG_DATA_HOME", ".local/share");
}
fs::path ConfigDir() { return XdgDir("XDG_CONFIG_HOME", ".config"); }
fs::path CacheDir() { return XdgDir("XDG_CACHE_HOME", ".cache"); }
fs::path StateDir() { return XdgDir("XDG_STATE_HOME", ".local/state"); }

}  // namespace lem
