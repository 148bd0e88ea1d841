#include "formats/zip.h"

#include <zip.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/file.h"
#include "formats/quote.h"

namespace lem {
namespace {

// Large enough that the calls per piece cost nothing, small enough for the cache.
constexpr size_t kPieceBytes = size_t{256} << 10;
// Large wheels have some 30,000.
constexpr int64_t kMaxEntries = int64_t{1} << 18;

struct ZipDiscard {
  void operator()(zip_t* zip) const { zip_discard(zip); }
};
struct ZipFileClose {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
using UniqueZip = std::unique_ptr<zip_t, ZipDiscard>;
using UniqueZipFile = std::unique_ptr<zip_file_t, ZipFileClose>;

// An error of libzip as a Status; frees what the error holds.
Status ZipStatus(std::string_view what, zip_error_t* error) {
  const int code = zip_error_code_zip(error);
  const std::string reason = zip_error_strerror(error);
  if (code == ZIP_ER_NOZIP) return InvalidArgument("{} is not a zip archive", what);
  if (code == ZIP_ER_MEMORY) return ResourceExhausted("{}: out of memory", what);
  return DataLoss("{} is damaged ({}): fetch it again", what, reason);
}

// Why a name may not be used, if so: unpacked by its name, the entry must stay below the target folder on any system.
std::optional<std::string_view> UnsafeName(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.front() == '/') return "is absolute";
  if (name.find('\\') != std::string_view::npos) return "has a backslash";
  if (name.find(':') != std::string_view::npos) return "has a colon";
  std::string_view rest = name.back() == '/' ? name.substr(0, name.size() - 1) : name;
  while (true) {
    const size_t slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return "has an empty part, '.' or '..'";
    if (slash == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(slash + 1);
  }
}

Result<UniqueZip> OpenZip(std::span<const std::byte> bytes, std::string_view name) {
  // libzip takes an empty file for an archive without entries.
  if (bytes.empty()) return InvalidArgument("{} is not a zip archive: it is empty", name);
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  UniqueZip zip(source != nullptr ? zip_open_from_source(source, ZIP_RDONLY, &error) : nullptr);
  if (zip == nullptr) {
    if (source != nullptr) zip_source_free(source);  // an open archive owns it
    Status status = ZipStatus(name, &error);
    zip_error_fini(&error);
    return status;
  }
  zip_error_fini(&error);
  return zip;
}

}  // namespace

struct ZipArchive::Rep {
  std::string name;
  MappedFile map;  // empty after Parse
  UniqueZip zip;   // reads from the map, so is destroyed before it
  std::vector<ZipEntry> entries;
  std::vector<uint32_t> by_name;  // indices into entries, sorted by name

  std::string Label(std::string_view entry_name) const {
    return fmt::format("entry {} of {}", QuoteForMessage(entry_name), name);
  }

  Status ListEntries() {
    const int64_t num_entries = zip_get_num_entries(zip.get(), 0);
    if (num_entries > kMaxEntries) {
      return DataLoss("{} has {} entries; allowed: at most {}", name, num_entries, kMaxEntries);
    }
    for (int64_t i = 0; i < num_entries; ++i) {
      zip_stat_t stat;
      constexpr uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE;
      if (zip_stat_index(zip.get(), static_cast<uint64_t>(i), 0, &stat) != 0) {
        return ZipStatus(name, zip_get_error(zip.get()));
      }
      if ((stat.valid & kNeeded) != kNeeded) return DataLoss("{}: entry {} has no name or size", name, i);
      if (const auto reason = UnsafeName(stat.name)) {
        return DataLoss("{}: the name of its {} {}; such archives are not read", name, Label(stat.name), *reason);
      }
      entries.push_back({stat.name, stat.size, stat.comp_size, static_cast<uint64_t>(i)});
      by_name.push_back(static_cast<uint32_t>(i));
    }
    const auto entry_name = [&](uint32_t i) -> const std::string& { return entries[i].name; };
    std::ranges::sort(by_name, {}, entry_name);
    const auto twice = std::ranges::adjacent_find(by_name, {}, entry_name);
    if (twice != by_name.end()) return DataLoss("{} occurs twice; allowed: once", Label(entry_name(*twice)));
    return OkStatus();
  }
};

ZipArchive::ZipArchive(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
ZipArchive::ZipArchive(ZipArchive&&) noexcept = default;
ZipArchive& ZipArchive::operator=(ZipArchive&&) noexcept = default;
ZipArchive::~ZipArchive() = default;

Result<ZipArchive> ZipArchive::Open(const std::filesystem::path& path) {
  LEM_ASSIGN_OR_RETURN(MappedFile map, MappedFile::Open(path));
  LEM_ASSIGN_OR_RETURN(ZipArchive archive, Parse(map.bytes(), path.string()));
  archive.rep_->map = std::move(map);
  return archive;
}

Result<ZipArchive> ZipArchive::Parse(std::span<const std::byte> bytes, std::string_view name) {
  auto rep = std::make_unique<Rep>();
  rep->name = name;
  LEM_ASSIGN_OR_RETURN(rep->zip, OpenZip(bytes, name));
  LEM_TRY(rep->ListEntries());
  return ZipArchive(std::move(rep));
}

const std::vector<ZipEntry>& ZipArchive::entries() const { return rep_->entries; }

const ZipEntry* ZipArchive::Find(std::string_view name) const {
  const auto entry_name = [&](uint32_t i) -> std::string_view { return rep_->entries[i].name; };
  const auto found = std::ranges::lower_bound(rep_->by_name, name, {}, entry_name);
  return found != rep_->by_name.end() && entry_name(*found) == name ? &rep_->entries[*found] : nullptr;
}

Status ZipArchive::ReadEntry(const ZipEntry& entry, uint64_t max_bytes, const Sink& sink) const {
  const std::string label = rep_->Label(entry.name);
  if (entry.size_bytes > max_bytes) {
    return ResourceExhausted("{} has {} bytes; allowed: at most {}", label, entry.size_bytes, max_bytes);
  }
  zip_t* zip = rep_->zip.get();
  zip_stat_t stat;
  if (zip_stat_index(zip, entry.index, 0, &stat) != 0) return ZipStatus(label, zip_get_error(zip));
  if ((stat.valid & ZIP_STAT_ENCRYPTION_METHOD) != 0 && stat.encryption_method != ZIP_EM_NONE) {
    return Unimplemented("{} is encrypted, which is not supported", label);
  }
  if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE) {
    return Unimplemented("{} is packed with method {}; supported: 0 (stored) and 8 (deflated)", label,
                         stat.comp_method);
  }
  const UniqueZipFile file(zip_fopen_index(zip, entry.index, 0));
  if (file == nullptr) return ZipStatus(label, zip_get_error(zip));

  std::vector<std::byte> piece(kPieceBytes);
  uint64_t num_left = entry.size_bytes;
  while (true) {
    const int64_t num_read = zip_fread(file.get(), piece.data(), piece.size());
    if (num_read < 0) return ZipStatus(label, zip_file_get_error(file.get()));
    if (num_read == 0) break;
    if (static_cast<uint64_t>(num_read) > num_left) {
      return DataLoss("{} unpacks to more than the {} bytes it claims: fetch the archive again", label,
                      entry.size_bytes);
    }
    num_left -= static_cast<uint64_t>(num_read);
    LEM_TRY(sink(std::span(piece).first(static_cast<size_t>(num_read))));
  }
  if (num_left != 0) {
    return DataLoss("{} unpacks to {} bytes, but claims {}: fetch the archive again", label,
                    entry.size_bytes - num_left, entry.size_bytes);
  }
  return OkStatus();
}

}  // namespace lem
