// Keys and values of prompts on disk, so that they outlive the process and the model's unloading: a file of one model,
// with the tree of its prefix cache, written when the engine ends and mapped when the next one begins.
//
// The file is only for this user to read, for it tells what was asked. A file of another model, layout or version, or
// one that is damaged, counts as none. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace lem {

// A block of the tree. Parents come before their children.
struct StoredPrefix {
  std::string space;    // of roots
  int64_t parent = -1;  // index; -1 = a root
  std::vector<int32_t> tokens;
};

class PrefixStore {
 public:
  // `fingerprint` names the model and everything that the bytes of a block depend on. Errors: NotFound, DataLoss,
  // FailedPrecondition (of something else).
  static Result<PrefixStore> Open(const std::filesystem::path& path, const std::string& fingerprint,
                                  size_t block_bytes);
  // blocks[i] are the bytes of prefixes[i]. The old file is replaced at the end. Errors: of writing.
  static Status Write(const std::filesystem::path& path, const std::string& fingerprint,
                      std::span<const StoredPrefix> prefixes, std::span<const std::span<const std::byte>> blocks);

  const std::vector<StoredPrefix>& prefixes() const { return prefixes_; }
  // The bytes of a block; nullopt if they are damaged. REQUIRES: an index of prefixes().
  std::optional<std::span<const std::byte>> Block(size_t idx) const;

 private:
  PrefixStore(MappedFile file, size_t block_bytes) : file_(std::move(file)), block_bytes_(block_bytes) {}

  MappedFile file_;
  size_t block_bytes_;
  size_t blocks_offset_ = 0;
  std::vector<StoredPrefix> prefixes_;
  std::vector<uint64_t> sums_;  // of the blocks
};

}  // namespace lem
