// Converted weights on disk, so that a model is converted once a machine and not once a start. Rebuildable: any file
// may be deleted at any time, and what cannot be read or written is converted anew.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>

#include "device/npu/compiler/static_graph.h"
#include "memory/weight_table.h"

namespace lem {

// Thread-safe. Other processes may use the same folder.
class NpuWeightCache {
 public:
  // An empty folder: nothing is kept. Files that were used longest ago go when all of them pass `max_bytes`.
  explicit NpuWeightCache(std::filesystem::path folder, uint64_t max_bytes = uint64_t{16} << 30)
      : folder_(std::move(folder)), max_bytes_(max_bytes) {}

  bool enabled() const { return !folder_.empty(); }
  // Names a conversion by all that decides its bytes.
  static std::string KeyOf(const WeightDesc& desc, std::span<const std::byte> bytes, NpuPrecision precision,
                           int64_t scale_group);
  // Fills `out` and returns true if there is an intact file of just that size.
  bool Load(const std::string& key, std::span<std::byte> out);
  void Store(const std::string& key, std::span<const std::byte> bytes);

 private:
  std::filesystem::path PathOf(const std::string& key) const { return folder_ / (key + ".npuw"); }
  Status Write(const std::string& key, std::span<const std::byte> bytes);

  const std::filesystem::path folder_;
  const uint64_t max_bytes_;
  std::mutex mutex_;  // guards what follows, and pruning
  bool failed_ = false;
};

}  // namespace lem
