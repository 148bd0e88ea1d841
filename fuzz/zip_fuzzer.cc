// Any bytes are either refused or an archive of which every entry can be read, never to more than was asked for.
#include <cstdlib>

#include "formats/zip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr uint64_t kMaxBytes = 1 << 16;  // enough to fill libzip's buffers more than once
  const auto archive = lem::ZipArchive::Parse({reinterpret_cast<const std::byte*>(data), size}, "fuzz.whl");
  if (!archive.ok()) {
    if (archive.status().message().empty()) std::abort();
    return 0;
  }
  for (const lem::ZipEntry& entry : archive->entries()) {
    if (archive->Find(entry.name) != &entry || entry.name.front() == '/') std::abort();
    uint64_t num_bytes = 0;
    const lem::Status status = archive->ReadEntry(entry, kMaxBytes, [&](std::span<const std::byte> piece) {
      num_bytes += piece.size();
      return lem::OkStatus();
    });
    if (num_bytes > kMaxBytes || (status.ok() && num_bytes != entry.size_bytes)) std::abort();
  }
  return 0;
}
