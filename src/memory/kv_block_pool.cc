#include "memory/kv_block_pool.h"

#include <sys/mman.h>

#include "base/check.h"
#include "base/checked_math.h"

namespace lem {

Result<std::unique_ptr<KvBlockPool>> KvBlockPool::Create(MemoryManager& memory, size_t block_bytes,
                                                         int64_t num_blocks) {
  LEM_CHECK(block_bytes > 0 && num_blocks > 0);
  const std::optional<uint64_t> total = CheckedMul(block_bytes, static_cast<uint64_t>(num_blocks));
  if (!total) return ResourceExhausted("a KV cache of {} blocks of {} bytes is too large", num_blocks, block_bytes);
  LEM_ASSIGN_OR_RETURN(Allocation allocation, memory.Allocate(MemoryUse::kKvCache, *total));
  // A layer's part of a block is some KiB, and the next one lies a block further on: with small pages each needs an
  // address translation of its own. That it fails costs nothing else.
  ::madvise(allocation.data(), allocation.bytes(), MADV_HUGEPAGE);
  return std::unique_ptr<KvBlockPool>(new KvBlockPool(std::move(allocation), block_bytes, num_blocks));
}

KvBlockPool::KvBlockPool(Allocation memory, size_t block_bytes, int64_t num_blocks)
    : memory_(std::move(memory)),
      block_bytes_(block_bytes),
      num_blocks_(num_blocks),
      references_(static_cast<size_t>(num_blocks), 0),
      cached_(static_cast<size_t>(num_blocks), false) {}

std::optional<BlockId> KvBlockPool::Allocate() {
  BlockId id = 0;
  if (!free_.empty()) {
    id = free_.back();
    free_.pop_back();
  } else if (next_fresh_ < num_blocks_) {
    id = next_fresh_++;
  } else {
    return std::nullopt;
  }
  references_[static_cast<size_t>(id)] = 1;
  num_used_.fetch_add(1, std::memory_order_relaxed);
  return id;
}

void KvBlockPool::AddReference(BlockId id) {
  LEM_CHECK(references_[static_cast<size_t>(id)] > 0) << "block " << id << " is free";
  CountIdle(id, -1);
  ++references_[static_cast<size_t>(id)];
  CountIdle(id, 1);
}

// Counts the block if it is idle as it is now.
void KvBlockPool::CountIdle(BlockId id, int64_t change) {
  const auto idx = static_cast<size_t>(id);
  if (cached_[idx] && references_[idx] == 1) num_idle_.fetch_add(change, std::memory_order_relaxed);
}

void KvBlockPool::SetCached(BlockId id, bool cached) {
  CountIdle(id, -1);
  cached_[static_cast<size_t>(id)] = cached;
  CountIdle(id, 1);
}

void KvBlockPool::Release(BlockId id) {
  int32_t& references = references_[static_cast<size_t>(id)];
  LEM_CHECK(references > 0) << "block " << id << " is free already";
  CountIdle(id, -1);
  --references;
  CountIdle(id, 1);
  if (references > 0) return;
  free_.push_back(id);
  num_used_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace lem
