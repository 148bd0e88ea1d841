#include "device/cpu/lane_cache.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/log.h"
#include "base/sha256.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

// Part of every key: changes when a repacking gives other bytes than before.
constexpr std::string_view kFormat = "lem-lanes-1\n";
constexpr size_t kHeaderBytes = 4096;
constexpr size_t kSizeAt = 16, kChecksumAt = 24;
// Of each matrix, for its key: so many pieces of so many bytes.
constexpr size_t kSamples = 4, kSampleBytes = 1024;
// Written at a time; between pieces a program that ends is noticed.
constexpr size_t kPieceBytes = size_t{4} << 20;
// Left free on the disk.
constexpr uint64_t kSpareBytes = uint64_t{1} << 30;
// The lowest priority but for idle classes: requests go first.
constexpr int kWriterNice = 19;

// Finds damage, not malice: a sum of products in eight lanes, as fast as memory is read. The size is checked beside it.
uint64_t Checksum(std::span<const std::byte> bytes) {
  constexpr size_t kLanes = 8;
  constexpr uint64_t kPrime = 0x9E3779B185EBCA87u;
  std::array<uint64_t, kLanes> sums{};
  for (size_t i = 0; i < kLanes; ++i) sums[i] = kPrime * (i + 1);
  size_t at = 0;
  for (; at + kLanes * 8 <= bytes.size(); at += kLanes * 8) {
    std::array<uint64_t, kLanes> words;
    std::memcpy(words.data(), bytes.data() + at, sizeof(words));
    for (size_t i = 0; i < kLanes; ++i) sums[i] = (sums[i] ^ words[i]) * kPrime;
  }
  uint64_t sum = bytes.size();
  for (; at < bytes.size(); ++at) sum = (sum ^ static_cast<uint64_t>(bytes[at])) * kPrime;
  // The highest bits of a product depend on all of its factors' bits: they are folded down.
  for (const uint64_t lane : sums) sum = (sum ^ lane ^ (lane >> 29)) * kPrime;
  return sum ^ (sum >> 32);
}

std::array<char, kHeaderBytes> HeaderOf(std::span<const std::byte> matrix) {
  std::array<char, kHeaderBytes> header{};
  std::ranges::copy(kFormat, header.begin());
  const uint64_t size = matrix.size(), checksum = Checksum(matrix);
  std::memcpy(header.data() + kSizeAt, &size, sizeof(size));
  std::memcpy(header.data() + kChecksumAt, &checksum, sizeof(checksum));
  return header;
}

}  // namespace

LaneCache::~LaneCache() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (writer_.joinable()) writer_.join();
}

std::string LaneCache::KeyOf(const WeightDesc& desc, std::span<const std::byte> bytes) const {
  if (folder_.empty() || desc.source.empty()) return {};
  Sha256 hash;
  const std::string facts = fmt::format("{}{}\n{}\n{} {}x{}\n", kFormat, desc.source, desc.name,
                                        GetDTypeInfo(desc.dtype).name, desc.rows, desc.cols);
  hash.Update(std::as_bytes(std::span(facts)));
  for (size_t i = 0; i < kSamples; ++i) {
    const size_t length = std::min(kSampleBytes, bytes.size());
    hash.Update(bytes.subspan((bytes.size() - length) * i / (kSamples - 1), length));
  }
  return hash.FinishHex();
}

std::span<const std::byte> LaneCache::MatrixOf(const MappedFile& file) { return file.bytes().subspan(kHeaderBytes); }

std::shared_ptr<const MappedFile> LaneCache::Map(const std::string& key, size_t num_bytes) const {
  if (key.empty()) return nullptr;
  Result<MappedFile> opened = MappedFile::Open(PathOf(key));
  if (!opened.ok()) return nullptr;
  auto file = std::make_shared<const MappedFile>(std::move(*opened));
  const std::span<const std::byte> bytes = file->bytes();
  // All pages at once are a fraction of the cost of one fault each; where the system cannot, they come one by one.
  ::madvise(const_cast<std::byte*>(bytes.data()), bytes.size(), MADV_POPULATE_READ);
  if (bytes.size() != kHeaderBytes + num_bytes ||
      std::memcmp(bytes.data(), HeaderOf(MatrixOf(*file)).data(), kHeaderBytes) != 0) {
    LogWarning("{} is damaged; the weight is repacked", PathOf(key).string());
    return nullptr;
  }
  std::error_code ignored;
  fs::last_write_time(PathOf(key), fs::file_time_type::clock::now(), ignored);  // it was used
  return file;
}

void LaneCache::Store(std::string key, std::shared_ptr<const Allocation> matrix, size_t num_bytes) {
  if (key.empty() || num_bytes > max_bytes_) return;
  const std::lock_guard lock(mutex_);
  if (failed_) return;
  jobs_.push_back({std::move(key), std::move(matrix), num_bytes});
  if (!writer_.joinable()) writer_ = std::thread([this] { WriteJobs(); });
  changed_.notify_all();
}

void LaneCache::Flush() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return jobs_.empty() && !writing_; });
}

void LaneCache::WriteJobs() {
  ::setpriority(PRIO_PROCESS, 0, kWriterNice);  // of this thread
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) break;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    writing_ = true;
    lock.unlock();
    const Status status = Write(job);
    job.matrix.reset();
    lock.lock();
    writing_ = false;
    if (!status.ok() && !stopping_) {
      failed_ = true;  // said once
      LogWarning("repacked weights are not kept: {}", status.message());
      jobs_.clear();
    }
    if (jobs_.empty() && !stopping_) {
      lock.unlock();
      PruneFolder(folder_, max_bytes_);
      lock.lock();
    }
    changed_.notify_all();
  }
  jobs_.clear();
}

Status LaneCache::Write(const Job& job) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) return Internal("{} cannot be made: {}", folder_.string(), error.message());
  if (const fs::space_info space = fs::space(folder_, error); !error && space.available < job.num_bytes + kSpareBytes) {
    return ResourceExhausted("{} has {} bytes free, {} are to stay free", folder_.string(), space.available,
                             kSpareBytes);
  }
  return ReplaceFile(PathOf(job.key), [&](OutputFile& file) -> Status {
    const std::span<const std::byte> matrix(job.matrix->data(), job.num_bytes);
    const auto header = HeaderOf(matrix);
    LEM_TRY(file.Write({header.data(), header.size()}));
    for (size_t at = 0; at < matrix.size(); at += kPieceBytes) {
      const std::span<const std::byte> piece = matrix.subspan(at, std::min(kPieceBytes, matrix.size() - at));
      LEM_TRY(file.Write({reinterpret_cast<const char*>(piece.data()), piece.size()}));
      const std::lock_guard lock(mutex_);
      if (stopping_) return Cancelled("the program ends");
    }
    return OkStatus();
  });
}

}  // namespace lem
