#include "runtime/store/partial_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/checked_math.h"
#include "base/file.h"
#include "base/json.h"
#include "runtime/store/catalogue.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

constexpr size_t kReadBytes = size_t{1} << 20;  // cancel is looked at once a piece of this size

const JsonValue* Member(const JsonValue& object, std::string_view key) {
  return object.is_object() ? object.get_object().if_contains(key) : nullptr;
}

std::string TextMember(const JsonValue& object, std::string_view key) {
  const JsonValue* value = Member(object, key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

Result<PartialFile> PartialFile::Open(const fs::path& folder, uint64_t expected_bytes, Disk& disk,
                                      const CancelToken& cancel) {
  PartialFile file(folder, expected_bytes, disk);
  LEM_TRY(file.OpenContent());
  struct stat info{};
  if (::fstat(file.fd_.get(), &info) != 0) return DiskError(errno, "stat", file.content_path());
  file.pieces_ = ReadPieces(folder / "state.json");
  const uint64_t found_bytes = static_cast<uint64_t>(info.st_size);
  // Longer than it may be: nothing about it can be trusted.
  LEM_TRY(file.Rehash(found_bytes <= expected_bytes ? found_bytes : 0, cancel));
  file.has_old_bytes_ = file.size_bytes_ > 0;
  return file;
}

Status PartialFile::OpenContent() {
  fd_ = FileDescriptor(::open(content_path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  return fd_.get() >= 0 ? OkStatus() : DiskError(errno, "open", content_path());
}

// Anything unexpected in the file means: no pieces. That costs a download, never a wrong byte.
std::vector<PartialFile::Piece> PartialFile::ReadPieces(const fs::path& path) {
  std::vector<Piece> out;
  const Result<std::string> text = ReadFile(path, size_t{1} << 20);
  if (!text.ok()) return out;
  const Result<JsonValue> json = ParseJson(*text);
  if (!json.ok()) return out;
  const JsonValue* pieces = Member(*json, "pieces");
  if (pieces == nullptr || !pieces->is_array()) return out;
  for (const JsonValue& value : pieces->get_array()) {
    Piece piece{TextMember(value, "id"), 0, TextMember(value, "sha256")};
    const JsonValue* size = Member(value, "size_bytes");
    if (piece.id.empty() || !IsSha256(piece.sha256) || size == nullptr || !size->is_int64()) break;
    if (size->get_int64() <= 0) break;
    piece.size_bytes = static_cast<uint64_t>(size->get_int64());
    out.push_back(std::move(piece));
  }
  return out;
}

Status PartialFile::WritePieces() const {
  JsonWriter json;
  json.BeginObject().Key("pieces").BeginArray();
  for (const Piece& piece : pieces_) {
    json.BeginObject().Key("id").String(piece.id).Key("size_bytes").UInt(piece.size_bytes);
    json.Key("sha256").String(piece.sha256).EndObject();
  }
  json.EndArray().EndObject();
  return WriteFileAtomic(folder_ / "state.json", json.text());
}

Status PartialFile::Rehash(uint64_t size_bytes, const CancelToken& cancel) {
  whole_hash_ = Sha256();
  piece_hash_ = Sha256();
  size_bytes_ = 0;
  piece_begin_ = 0;
  std::vector<Piece> expected = std::move(pieces_);
  pieces_.clear();
  std::vector<std::byte> buffer(std::min<uint64_t>(kReadBytes, std::max<uint64_t>(size_bytes, 1)));
  size_t piece_idx = 0;
  while (size_bytes_ < size_bytes) {
    if (cancel.cancelled()) return Cancelled("stopped while checking what was downloaded before");
    // A piece that says more than there is counts for nothing, nor do those behind it.
    const bool in_piece =
        piece_idx < expected.size() && RangeFits(piece_begin_, expected[piece_idx].size_bytes, size_bytes);
    const uint64_t limit = in_piece ? piece_begin_ + expected[piece_idx].size_bytes : size_bytes;
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(buffer.size(), limit - size_bytes_));
    const ssize_t n = ::pread(fd_.get(), buffer.data(), wanted, static_cast<off_t>(size_bytes_));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return n < 0 ? DiskError(errno, "read", content_path()) : DataLoss("{} shrank", content_path().string());
    const std::span<const std::byte> bytes(buffer.data(), static_cast<size_t>(n));
    whole_hash_.Update(bytes);
    piece_hash_.Update(bytes);
    size_bytes_ += static_cast<uint64_t>(n);
    if (!in_piece || size_bytes_ < limit) continue;
    if (std::exchange(piece_hash_, Sha256()).FinishHex() != expected[piece_idx].sha256) {
      // From here on content is not what it was; begin again with the pieces before.
      return Rehash(piece_begin_, cancel);
    }
    piece_begin_ = size_bytes_;
    pieces_.push_back(std::move(expected[piece_idx]));
    ++piece_idx;
  }
  if (::ftruncate(fd_.get(), static_cast<off_t>(size_bytes_)) != 0) return DiskError(errno, "truncate", content_path());
  return OkStatus();
}

Status PartialFile::Append(std::span<const std::byte> bytes) {
  if (bytes.size() > expected_bytes_ - size_bytes_) {
    return DataLoss("the source has more than the {} bytes that the model has", expected_bytes_);
  }
  // Positioned by hand: after a failed write the file offset and size_bytes_ could disagree.
  if (::lseek(fd_.get(), static_cast<off_t>(size_bytes_), SEEK_SET) < 0)
    return DiskError(errno, "seek in", content_path());
  if (Status status = WriteAll(*disk_, fd_.get(), bytes, content_path()); !status.ok()) {
    if (status.code() != StatusCode::kResourceExhausted) return status;
    return ResourceExhausted("{} after {} of {} bytes; what is there is kept: make room and run the same command again",
                             status.message(), size_bytes_, expected_bytes_);
  }
  whole_hash_.Update(bytes);
  piece_hash_.Update(bytes);
  size_bytes_ += bytes.size();
  return OkStatus();
}

Status PartialFile::FinishPiece(const std::string& id) {
  // The bytes before the record of them: the other way round a power cut could leave a piece without its bytes.
  if (disk_->Sync(fd_.get()) != 0) return DiskError(errno, "sync", content_path());
  pieces_.push_back({id, size_bytes_ - piece_begin_, std::exchange(piece_hash_, Sha256()).FinishHex()});
  piece_begin_ = size_bytes_;
  return WritePieces();
}

Status PartialFile::KeepPieces(size_t num_pieces, const CancelToken& cancel) {
  uint64_t keep_bytes = 0;
  for (size_t i = 0; i < std::min(num_pieces, pieces_.size()); ++i) keep_bytes += pieces_[i].size_bytes;
  if (keep_bytes == size_bytes_) return OkStatus();
  if (num_pieces < pieces_.size()) {
    pieces_.resize(num_pieces);
    LEM_TRY(WritePieces());
  }
  LEM_TRY(Rehash(keep_bytes, cancel));
  has_old_bytes_ = has_old_bytes_ && size_bytes_ > 0;
  return OkStatus();
}

Status PartialFile::Clear() {
  pieces_.clear();
  LEM_TRY(WritePieces());
  has_old_bytes_ = false;
  return Rehash(0, CancelToken());
}

Status PartialFile::Adopt(const fs::path& file, bool is_resumed, const CancelToken& cancel) {
  LEM_ASSIGN_OR_RETURN(const FileFacts facts, FactsOf(file));
  if (facts.size_bytes != expected_bytes_) {
    return DataLoss("it gave {} bytes; the model has {}", facts.size_bytes, expected_bytes_);
  }
  pieces_.clear();
  LEM_TRY(WritePieces());
  if (disk_->Rename(file, content_path()) != 0) return DiskError(errno, "rename to", content_path());
  LEM_TRY(OpenContent());
  has_old_bytes_ = is_resumed;
  return Rehash(facts.size_bytes, cancel);
}

Result<std::string> PartialFile::Finish() {
  if (disk_->Sync(fd_.get()) != 0) return DiskError(errno, "sync", content_path());
  // So that who reads it next reads the disk and not memory, as far as the kernel obliges.
  ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
  return std::exchange(whole_hash_, Sha256()).FinishHex();
}

}  // namespace lem
