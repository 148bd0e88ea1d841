// Files as the rest of the program needs them: read-only maps of regular files, whole small files, atomic writes and
// the XDG folders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace lem {

// A regular file mapped read-only. The bytes stay valid and at one address until the object is destroyed, also when it
// is moved. Thread-safe to read.
class MappedFile {
 public:
  // Errors: NotFound (no such file), InvalidArgument (not a regular file), PermissionDenied, Internal.
  static Result<MappedFile> Open(const std::filesystem::path& path);

  MappedFile() = default;
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Takes the whole pages in `bytes`, a part of a mapped file, out of this process's memory; they come back from the file
// when they are read again.
void DropMappedPages(std::span<const std::byte> bytes);

// The whole file as text. Errors: as MappedFile::Open, and ResourceExhausted above max_bytes.
Result<std::string> ReadFile(const std::filesystem::path& path, size_t max_bytes = size_t{64} << 20);

// A regular file being written from its start or its end. Closed, without a sync, by the destructor. Not thread-safe.
class OutputFile {
 public:
  enum class Mode { kTruncate, kAppend };
  // Creates the file if there is none. Errors: NotFound (no such folder), PermissionDenied, Internal (also a symbolic
  // link in place of the file).
  static Result<OutputFile> Open(const std::filesystem::path& path, Mode mode);

  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;
  ~OutputFile();

  // Errors: ResourceExhausted (disk or quota full), Internal. What was written before stays.
  Status Write(std::string_view bytes);
  // Nobody but the owner may read or write the file.
  Status RestrictToOwner();
  // Returns when the bytes are on the disk.
  Status Sync();
  uint64_t size_bytes() const { return size_bytes_; }

 private:
  OutputFile(int fd, std::filesystem::path path, uint64_t size_bytes)
      : fd_(fd), path_(std::move(path)), size_bytes_(size_bytes) {}
  int fd_ = -1;
  std::filesystem::path path_;
  uint64_t size_bytes_ = 0;
};

// `write` fills a file beside the target, which then takes its place: the target is either the old or the new whole
// file, and of a failure nothing is left. Not synced: after a power cut the target may be damaged.
Status ReplaceFile(const std::filesystem::path& path, const std::function<Status(OutputFile&)>& write);
// The same with a content, synced.
Status WriteFileAtomic(const std::filesystem::path& path, std::string_view content);

// Removes files of a folder, those changed longest ago first, until those that are left have `max_bytes` at most.
void PruneFolder(const std::filesystem::path& folder, uint64_t max_bytes);

// $XDG_DATA_HOME/lemonade, $XDG_CONFIG_HOME/lemonade, $XDG_CACHE_HOME/lemonade, $XDG_STATE_HOME/lemonade with the usual
// defaults below $HOME. LEM_DATA_DIR overrides the first. Not created.
std::filesystem::path DataDir();
std::filesystem::path ConfigDir();
std::filesystem::path CacheDir();
std::filesystem::path StateDir();

}  // namespace lem
