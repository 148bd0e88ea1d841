// The allocator of KV cache blocks: fixed-size blocks in one range of the address space.
//
// Pages are committed by the first touch, so a large pool costs only what is used. Blocks are
// counted, so that sequences can share them. Not thread-safe: the engine's thread owns it; the counters may be read by
// any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "memory/memory_manager.h"

namespace lem {

using BlockId = int32_t;

class KvBlockPool {
 public:
  // Errors: as MemoryManager::Allocate. REQUIRES: block_bytes > 0, num_blocks > 0.
  static Result<std::unique_ptr<KvBlockPool>> Create(MemoryManager& memory, size_t block_bytes, int64_t num_blocks);
  KvBlockPool(const KvBlockPool&) = delete;
  KvBlockPool& operator=(const KvBlockPool&) = delete;

  // A block with one reference, or nullopt when all are in use. The lowest free ids are not preferred: the block freed
  // last comes first, since its memory is committed and warm.
  std::optional<BlockId> Allocate();
  void AddReference(BlockId id);
  // The block is free again when its last reference goes.
  void Release(BlockId id);
  int32_t num_references(BlockId id) const { return references_[static_cast<size_t>(id)]; }
  // One of the block's references is a cache's, which gives it up when blocks are short.
  void SetCached(BlockId id, bool cached);
  // Lets a device reach the blocks; none crosses a window of it. Errors: as DeviceMemory::Map.
  Status MapTo(DeviceMemory& device) { return memory_.MapTo(device, block_bytes_); }

  std::byte* base() const { return memory_.data(); }
  size_t block_bytes() const { return block_bytes_; }
  int64_t num_blocks() const { return num_blocks_; }
  int64_t num_used() const { return num_used_.load(std::memory_order_relaxed); }
  int64_t num_free() const { return num_blocks_ - num_used(); }
  // Used by nobody but a cache.
  int64_t num_idle() const { return num_idle_.load(std::memory_order_relaxed); }

 private:
  KvBlockPool(Allocation memory, size_t block_bytes, int64_t num_blocks);

  Allocation memory_;
  const size_t block_bytes_;
  const int64_t num_blocks_;
  void CountIdle(BlockId id, int64_t change);

  std::vector<int32_t> references_;  // [num_blocks]; 0 = free
  std::vector<bool> cached_;         // [num_blocks]
  std::vector<BlockId> free_;        // stack of blocks that were used before
  BlockId next_fresh_ = 0;           // blocks from here on were never used
  std::atomic<int64_t> num_used_{0}, num_idle_{0};
};

}  // namespace lem
