// Weights repacked for the CPU's kernels (tensor/lanes.h), by where their originals are: executables share them, and
// they are freed with the last one. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>

#include "memory/memory_manager.h"
#include "memory/weight_table.h"

namespace lem {

class LaneWeights {
 public:
  // `memory` must outlive everything that Get returned.
  explicit LaneWeights(MemoryManager& memory) : memory_(memory) {}

  // The matrix in lanes, repacked at the first call. The originals then leave the process's memory if they are a mapped
  // file. Null if the weight stays as it is: its type has no lanes, another device reads the very bytes, or there is no
  // memory for a second copy.
  std::shared_ptr<const Allocation> Get(const WeightTable& table, WeightHandle handle);

 private:
  Result<Allocation> Repack(const WeightDesc& desc, std::span<const std::byte> bytes);

  MemoryManager& memory_;
  std::mutex mutex_;
  std::map<std::pair<const std::byte*, int64_t>, std::weak_ptr<const Allocation>> weights_;  // by bytes and rows
};

}  // namespace lem
