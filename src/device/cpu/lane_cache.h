// Repacked weights on disk, so that a model is repacked once a machine and not once a start: one file a matrix, mapped
// as it is. Rebuildable: any file may be deleted at any time, and what is missing or damaged is repacked anew.
//
//   64 bytes   magic "lem-lanes-1\n", zeros; at 16: uint64 bytes of the matrix, uint64 checksum of it
//   zeros up to 4096, so that the matrix begins on a page
//   the matrix (tensor/lanes.h)
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>

#include "base/file.h"
#include "memory/memory_manager.h"
#include "memory/weight_table.h"

namespace lem {

// Thread-safe. Other processes may use the same folder.
class LaneCache {
 public:
  // An empty folder: nothing is kept. Files that were used longest ago go when all of them pass `max_bytes`.
  explicit LaneCache(std::filesystem::path folder, uint64_t max_bytes = uint64_t{16} << 30)
      : folder_(std::move(folder)), max_bytes_(max_bytes) {}
  // Gives up what is not written yet.
  ~LaneCache();
  LaneCache(const LaneCache&) = delete;
  LaneCache& operator=(const LaneCache&) = delete;

  // Names a matrix by its file's identity, its place in the model and samples of its bytes: reading all of them would
  // take as long as repacking. Empty: it is not to be kept.
  std::string KeyOf(const WeightDesc& desc, std::span<const std::byte> bytes) const;
  // The matrix if there is an intact file of just that size, in memory from the first to the last page.
  std::shared_ptr<const MappedFile> Map(const std::string& key, size_t num_bytes) const;
  static std::span<const std::byte> MatrixOf(const MappedFile& file);
  // Writes it on a thread of low priority.
  void Store(std::string key, std::shared_ptr<const Allocation> matrix, size_t num_bytes);
  // Returns when all that was given to Store is written or given up.
  void Flush();

 private:
  struct Job {
    std::string key;
    std::shared_ptr<const Allocation> matrix;
    size_t num_bytes = 0;
  };

  std::filesystem::path PathOf(const std::string& key) const { return folder_ / (key + ".lanes"); }
  void WriteJobs();
  Status Write(const Job& job);

  const std::filesystem::path folder_;
  const uint64_t max_bytes_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool writing_ = false, stopping_ = false, failed_ = false;
  std::thread writer_;  // from the first Store on
};

}  // namespace lem
