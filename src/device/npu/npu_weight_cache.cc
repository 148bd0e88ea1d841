#include "device/npu/npu_weight_cache.h"

#include <cstring>

#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

// Part of every key: changes when a conversion gives other bytes than before.
constexpr std::string_view kFormat = "lem-npu-weight-1";
constexpr size_t kHashChars = 64;  // a file begins with the SHA-256 of the rest, in hexadecimal

std::string HashOf(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.FinishHex();
}

}  // namespace

std::string NpuWeightCache::KeyOf(const WeightDesc& desc, std::span<const std::byte> bytes, NpuPrecision precision,
                                  int64_t scale_group) {
  Sha256 hash;
  const std::string facts = fmt::format("{} {} {}x{} {} {}\n", kFormat, GetDTypeInfo(desc.dtype).name, desc.rows,
                                        desc.cols, NpuPrecisionName(precision), scale_group);
  hash.Update(std::as_bytes(std::span(facts)));
  hash.Update(bytes);
  return hash.FinishHex();
}

bool NpuWeightCache::Load(const std::string& key, std::span<std::byte> out) {
  if (!enabled()) return false;
  const Result<MappedFile> file = MappedFile::Open(PathOf(key));
  if (!file.ok()) return false;
  const std::span<const std::byte> bytes = file->bytes();
  if (bytes.size() != kHashChars + out.size()) return false;
  std::memcpy(out.data(), bytes.data() + kHashChars, out.size());
  // Of the copy: another process may change the file.
  if (std::memcmp(bytes.data(), HashOf(out).data(), kHashChars) != 0) {
    LogWarning("{} is damaged; the weight is converted anew", PathOf(key).string());
    return false;
  }
  std::error_code ignored;
  fs::last_write_time(PathOf(key), fs::file_time_type::clock::now(), ignored);  // it was used
  return true;
}

void NpuWeightCache::Store(const std::string& key, std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  if (!enabled() || failed_ || bytes.size() > max_bytes_) return;
  const Status status = Write(key, bytes);
  if (!status.ok()) {
    failed_ = true;  // said once
    LogWarning("converted weights are not kept: {}", status.message());
    return;
  }
  PruneFolder(folder_, max_bytes_);
}

Status NpuWeightCache::Write(const std::string& key, std::span<const std::byte> bytes) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) return Internal("{} cannot be made: {}", folder_.string(), error.message());
  return ReplaceFile(PathOf(key), [&](OutputFile& file) -> Status {
    LEM_TRY(file.Write(HashOf(bytes)));
    return file.Write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  });
}

}  // namespace lem
