// A file on its way into the store: <models>/.partial/<sha256>/content with what is known about it in state.json.
//
//   content     the bytes so far, a prefix of the finished file
//   state.json  {"pieces": [{"id", "size_bytes", "sha256"}...]}
//
// A piece is a stretch of content that a source has vouched for (one part of a split model); pieces follow each other
// from the start. Behind them may lie bytes of an interrupted download. Whatever kills the process, what Open finds is
// such a prefix: pieces are hashed again, the rest is found out when the whole is hashed.
// REQUIRES: the caller holds the lock on the folder; one thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "base/status.h"
#include "request/request.h"
#include "runtime/store/disk.h"

namespace lem {

class PartialFile {
 public:
  // `expected_bytes` is the size of the finished file; no more is ever written. Errors: Cancelled, those of the disk.
  static Result<PartialFile> Open(const std::filesystem::path& folder, uint64_t expected_bytes, Disk& disk,
                                  const CancelToken& cancel);

  const std::filesystem::path& folder() const { return folder_; }
  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t expected_bytes() const { return expected_bytes_; }
  // True if content has bytes that an earlier process fetched.
  bool has_old_bytes() const { return has_old_bytes_; }

  // Errors: ResourceExhausted (disk full; what was written stays), DataLoss (longer than expected), Internal.
  Status Append(std::span<const std::byte> bytes);

  // Declares everything since the last piece a piece, and makes it last.
  Status FinishPiece(const std::string& id);
  size_t num_pieces() const { return pieces_.size(); }
  const std::string& piece_id(size_t piece_idx) const { return pieces_[piece_idx].id; }
  // Drops everything behind the first num_pieces pieces.
  Status KeepPieces(size_t num_pieces, const CancelToken& cancel);
  // Drops everything.
  Status Clear();

  // Takes a whole file that was fetched elsewhere in the folder in place of everything. `is_resumed` says whether an
  // earlier process fetched some of it. Errors: DataLoss (not the expected size), Cancelled, those of the disk.
  Status Adopt(const std::filesystem::path& file, bool is_resumed, const CancelToken& cancel);

  // Syncs and returns the SHA-256 of the bytes as they were given to Append or found by Open.
  Result<std::string> Finish();
  std::filesystem::path content_path() const { return folder_ / "content"; }

 private:
  struct Piece {
    std::string id;
    uint64_t size_bytes = 0;
    std::string sha256;
  };

  PartialFile(std::filesystem::path folder, uint64_t expected_bytes, Disk& disk)
      : folder_(std::move(folder)), expected_bytes_(expected_bytes), disk_(&disk) {}

  static std::vector<Piece> ReadPieces(const std::filesystem::path& path);
  Status WritePieces() const;
  Status OpenContent();
  // Hashes content anew up to size_bytes, checking pieces; cuts off what does not agree.
  Status Rehash(uint64_t size_bytes, const CancelToken& cancel);

  std::filesystem::path folder_;
  uint64_t expected_bytes_;
  Disk* disk_;
  FileDescriptor fd_;
  uint64_t size_bytes_ = 0;
  uint64_t piece_begin_ = 0;  // end of the last piece
  bool has_old_bytes_ = false;
  Sha256 whole_hash_, piece_hash_;  // of [0, size_bytes_) and [piece_begin_, size_bytes_)
  std::vector<Piece> pieces_;
};

}  // namespace lem
