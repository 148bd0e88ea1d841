// The converted weights of a device, by where their originals are, so that none is converted twice; forgotten when
// nobody uses them. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <tuple>

#include "device/npu/compiler/static_graph.h"
#include "kernels/kernels.h"
#include "memory/memory_manager.h"
#include "memory/weight_table.h"

namespace lem {

// Weight: a converted matrix with its `memory` and the `bytes()` of it that are in use.
template <typename Weight>
class NpuWeightStore {
 public:
  using Convert = std::function<Result<std::shared_ptr<const Weight>>(
      const WeightDesc& desc, std::span<const std::byte> bytes, NpuPrecision precision, int64_t scale_group,
      const KernelTable& kernels, MemoryManager& memory)>;

  NpuWeightStore(std::string_view device_id, Convert convert, const KernelTable& kernels, MemoryManager& memory)
      : account_(memory.ledger().AccountOf(device_id)),
        convert_(std::move(convert)),
        kernels_(kernels),
        memory_(memory) {}

  Result<std::shared_ptr<const Weight>> Get(const WeightDesc& desc, std::span<const std::byte> bytes,
                                            NpuPrecision precision, int64_t scale_group) {
    const std::lock_guard lock(mutex_);
    std::weak_ptr<const Weight>& known = weights_[{bytes.data(), desc.rows, precision, scale_group}];
    if (auto weight = known.lock()) return weight;
    LEM_ASSIGN_OR_RETURN(auto weight, convert_(desc, bytes, precision, scale_group, kernels_, memory_));
    account_.Add(TransferDirection::kToDevice, TransferCause::kWeights, weight->bytes());
    known = weight;
    ++num_converted_;
    return weight;
  }

  uint64_t bytes_in_use() const {
    const std::lock_guard lock(mutex_);
    uint64_t bytes = 0;
    for (const auto& [key, known] : weights_) {
      if (const auto weight = known.lock()) bytes += weight->memory.bytes();
    }
    return bytes;
  }

  int64_t num_converted() const {
    const std::lock_guard lock(mutex_);
    return num_converted_;
  }

 private:
  using Key = std::tuple<const std::byte*, int64_t, NpuPrecision, int64_t>;  // bytes, rows, precision, group
  TransferLedger::Account& account_;
  const Convert convert_;
  const KernelTable& kernels_;
  MemoryManager& memory_;
  mutable std::mutex mutex_;
  std::map<Key, std::weak_ptr<const Weight>> weights_;
  int64_t num_converted_ = 0;
};

}  // namespace lem
