// Weights repacked for the CPU's kernels (tensor/lanes.h), by where their originals are: executables share them, and
// they are freed with the last one. Thread-safe.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "device/cpu/lane_cache.h"
#include "memory/memory_manager.h"
#include "memory/weight_table.h"

namespace lem {

struct LaneMatrix {
  const std::byte* data = nullptr;
  std::shared_ptr<const void> owner;
};

class LaneWeights {
 public:
  // `memory` must outlive everything that Get returned. cache_folder: for what was repacked; empty = it is not kept.
  LaneWeights(MemoryManager& memory, int num_threads, std::filesystem::path cache_folder = {})
      : memory_(memory), num_threads_(num_threads), cache_(std::move(cache_folder)) {}

  // The matrices in lanes: from the cache's files, mapped with no copy, or repacked at the first call, several at a
  // time. The originals then leave the process's memory if they are a mapped file. An entry is null if the weight stays
  // as it is: its type has no lanes, another device reads the very bytes, or there is no memory for a second copy.
  std::vector<std::shared_ptr<const LaneMatrix>> Get(const WeightTable& table, std::span<const WeightHandle> handles);

  LaneCache& cache() { return cache_; }

 private:
  std::shared_ptr<const LaneMatrix> Make(const WeightDesc& desc, std::span<const std::byte> bytes);
  Result<Allocation> Repack(const WeightDesc& desc, std::span<const std::byte> bytes);

  MemoryManager& memory_;
  const int num_threads_;
  LaneCache cache_;
  std::mutex mutex_;
  std::map<std::pair<const std::byte*, int64_t>, std::weak_ptr<const LaneMatrix>> weights_;  // by bytes and rows
};

}  // namespace lem
