// Files as the rest of the program needs them: read-only maps of regular files, whole small files, atomic writes and
// the XDG folders.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

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

// The whole file as text. Errors: as MappedFile::Open, and ResourceExhausted above max_bytes.
Result<std::string> ReadFile(const std::filesystem::path& path, size_t max_bytes = size_t{64} << 20);

// Writes beside the target, syncs, renames: the target is either the old or the new whole file.
Status WriteFileAtomic(const std::filesystem::path& path, std::string_view content);

// $XDG_DATA_HOME/lemonade, $XDG_CONFIG_HOME/lemonade, $XDG_CACHE_HOME/lemonade, $XDG_STATE_HOME/lemonade with the usual
// defaults below $HOME. LEM_DATA_DIR overrides the first. Not created.
std::filesystem::path DataDir();
std::filesystem::path ConfigDir();
std::filesystem::path CacheDir();
std::filesystem::path StateDir();

}  // namespace lem
