// Reader of zip archives, which Python wheels are, on libzip. The archive is hostile input: an archive that opens has
// no name that leaves its folder and no name twice, and reading an entry is bounded by the caller. Reads in place from
// the mapped file; nothing is ever unpacked to disk here. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lem {

struct ZipEntry {
  std::string name;         // "folder/file", UTF-8; a folder's ends in '/'
  uint64_t size_bytes = 0;  // unpacked, as the archive claims
  uint64_t compressed_bytes = 0;
  uint64_t index = 0;  // in the archive's directory
};

class ZipArchive {
 public:
  // Takes the next bytes of an entry; an error ends the reading.
  using Sink = std::function<Status(std::span<const std::byte>)>;

  // Errors: as MappedFile::Open; InvalidArgument (not a zip archive), DataLoss (damaged, a name twice, a name that is
  // absolute or has a part "..", a backslash or the like), ResourceExhausted (memory).
  static Result<ZipArchive> Open(const std::filesystem::path& path);
  // An archive in memory; the bytes must outlive the result. `name` is used in messages.
  static Result<ZipArchive> Parse(std::span<const std::byte> bytes, std::string_view name);

  ZipArchive(ZipArchive&&) noexcept;
  ZipArchive& operator=(ZipArchive&&) noexcept;
  ~ZipArchive();

  // In the archive's order.
  const std::vector<ZipEntry>& entries() const;
  // Null if there is none of that name.
  const ZipEntry* Find(std::string_view name) const;

  // Unpacks one of entries() into `sink`, piece by piece, and checks its size and CRC at the end: bytes count only once
  // OK is returned. Never gives the sink more than max_bytes. Errors: ResourceExhausted (the entry is larger than
  // max_bytes), Unimplemented (encrypted, or packed otherwise than stored or deflated), DataLoss, the sink's own.
  Status ReadEntry(const ZipEntry& entry, uint64_t max_bytes, const Sink& sink) const;

 private:
  struct Rep;
  explicit ZipArchive(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace lem
