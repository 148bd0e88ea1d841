// Layout, little endian: magic, sum of the index, bytes of the index, index, padding to kAlignment, blocks.
// Index: fingerprint, bytes of a block, number of prefixes; of each: parent, space if it is a root, tokens, sum of its
// block.
#include "engine/prefix_store.h"

#include <fmt/format.h>

#include <cstring>
#include <string_view>

#include "base/hash.h"
#include "base/integer_math.h"

namespace lem {
namespace {

constexpr std::string_view kMagic = "lemkv\x01\r\n";
constexpr size_t kHeaderBytes = 24;
constexpr size_t kAlignment = 4096;
// Limits on what a file may claim.
constexpr uint64_t kMaxIndexBytes = uint64_t{256} << 20;
constexpr uint64_t kMaxTextBytes = 1 << 16;
constexpr uint64_t kMaxTokens = 1024;

// FNV-1a over words: to find damage, not to keep out who means it.
uint64_t SumOf(std::span<const std::byte> bytes) {
  uint64_t sum = kHashSeed;
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, sizeof(word));
    sum = HashWord(sum, word);
  }
  for (; i < bytes.size(); ++i) sum = HashWord(sum, std::to_integer<uint64_t>(bytes[i]));
  return sum;
}

class IndexWriter {
 public:
  template <typename Number>
  void Put(Number number) {
    char bytes[sizeof(number)];
    std::memcpy(bytes, &number, sizeof(number));
    out_.append(bytes, sizeof(bytes));
  }
  void PutText(std::string_view text) {
    Put(static_cast<uint64_t>(text.size()));
    out_ += text;
  }
  const std::string& text() const { return out_; }

 private:
  std::string out_;
};

class IndexReader {
 public:
  explicit IndexReader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <typename Number>
  Number Take() {
    Number number{};
    if (bytes_.size() < sizeof(number)) {
      ok_ = false;
      return number;
    }
    std::memcpy(&number, bytes_.data(), sizeof(number));
    bytes_ = bytes_.subspan(sizeof(number));
    return number;
  }
  std::string TakeText() {
    const auto size = Take<uint64_t>();
    if (size > kMaxTextBytes || size > bytes_.size()) {
      ok_ = false;
      return {};
    }
    std::string text(reinterpret_cast<const char*>(bytes_.data()), size);
    bytes_ = bytes_.subspan(size);
    return text;
  }
  bool ok() const { return ok_; }
  size_t num_left() const { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  bool ok_ = true;
};

Status Damaged(const std::filesystem::path& path) {
  return DataLoss("{} is damaged; it is left aside and written anew", path.string());
}

}  // namespace

Result<PrefixStore> PrefixStore::Open(const std::filesystem::path& path, const std::string& fingerprint,
                                      size_t block_bytes) {
  LEM_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  PrefixStore store(std::move(file), block_bytes);
  const std::span<const std::byte> bytes = store.file_.bytes();
  if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) return Damaged(path);
  IndexReader header(bytes.subspan(kMagic.size(), kHeaderBytes - kMagic.size()));
  const auto sum = header.Take<uint64_t>(), index_bytes = header.Take<uint64_t>();
  if (index_bytes > kMaxIndexBytes || index_bytes > bytes.size() - kHeaderBytes) return Damaged(path);
  const std::span<const std::byte> index = bytes.subspan(kHeaderBytes, index_bytes);
  if (SumOf(index) != sum) return Damaged(path);
  IndexReader reader(index);
  const std::string whose = reader.TakeText();
  const auto stored_block_bytes = reader.Take<uint64_t>(), count = reader.Take<uint64_t>();
  if (!reader.ok()) return Damaged(path);
  if (whose != fingerprint || stored_block_bytes != block_bytes) {
    return FailedPrecondition("{} is of another model or version", path.string());
  }
  store.blocks_offset_ = RoundUp(kHeaderBytes + index_bytes, kAlignment);
  if (store.blocks_offset_ > bytes.size() || count > (bytes.size() - store.blocks_offset_) / block_bytes) {
    return Damaged(path);
  }
  for (uint64_t i = 0; i < count; ++i) {
    StoredPrefix prefix;
    prefix.parent = reader.Take<int64_t>();
    if (prefix.parent < -1 || prefix.parent >= static_cast<int64_t>(i)) return Damaged(path);
    if (prefix.parent == -1) prefix.space = reader.TakeText();
    const auto num_tokens = reader.Take<uint64_t>();
    if (num_tokens > kMaxTokens || num_tokens * sizeof(int32_t) > reader.num_left()) return Damaged(path);
    prefix.tokens.reserve(num_tokens);
    for (uint64_t t = 0; t < num_tokens; ++t) prefix.tokens.push_back(reader.Take<int32_t>());
    store.sums_.push_back(reader.Take<uint64_t>());
    if (!reader.ok()) return Damaged(path);
    store.prefixes_.push_back(std::move(prefix));
  }
  return store;
}

Status PrefixStore::Write(const std::filesystem::path& path, const std::string& fingerprint,
                          std::span<const StoredPrefix> prefixes, std::span<const std::span<const std::byte>> blocks) {
  IndexWriter index;
  index.PutText(fingerprint);
  index.Put(static_cast<uint64_t>(blocks.empty() ? 0 : blocks.front().size()));
  index.Put(static_cast<uint64_t>(prefixes.size()));
  for (size_t i = 0; i < prefixes.size(); ++i) {
    index.Put(prefixes[i].parent);
    if (prefixes[i].parent == -1) index.PutText(prefixes[i].space);
    index.Put(static_cast<uint64_t>(prefixes[i].tokens.size()));
    for (const int32_t token : prefixes[i].tokens) index.Put(token);
    index.Put(SumOf(blocks[i]));
  }
  IndexWriter header;
  header.Put(SumOf(std::as_bytes(std::span(index.text()))));
  header.Put(static_cast<uint64_t>(index.text().size()));
  std::string head = std::string(kMagic) + header.text() + index.text();
  head.resize(RoundUp(head.size(), kAlignment));

  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) return PermissionDenied("folder {} cannot be made: {}", path.parent_path().string(), error.message());
  return ReplaceFile(path, [&](OutputFile& file) -> Status {
    LEM_TRY(file.RestrictToOwner());
    LEM_TRY(file.Write(head));
    for (const std::span<const std::byte> block : blocks) {
      LEM_TRY(file.Write({reinterpret_cast<const char*>(block.data()), block.size()}));
    }
    return OkStatus();
  });
}

std::optional<std::span<const std::byte>> PrefixStore::Block(size_t idx) const {
  const std::span<const std::byte> block = file_.bytes().subspan(blocks_offset_ + idx * block_bytes_, block_bytes_);
  if (SumOf(block) != sums_[idx]) return std::nullopt;
  return block;
}

}  // namespace lem
