// Where the keys and values of each (block, layer) of a KV pool are valid, for plans whose devices do not all work in
// the host's memory. Host and sharing devices are one space; each other device is a space of its own.
//
// A block of a layer is written by one space at a time: whoever writes makes all other copies stale. Not thread-safe:
// the engine's thread owns it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "memory/kv_block_pool.h"
#include "memory/memory_manager.h"

namespace lem {

class KvResidency {
 public:
  static constexpr size_t kMaxSpaces = 16;

  // spaces[i] is the memory of space i; spaces[0] is null: the host. At most kMaxSpaces. `layer_bytes` is what one
  // layer takes of a block, layer by layer from its start. The pool must outlive it and be mapped to every memory.
  KvResidency(const KvBlockPool& pool, int32_t num_layers, size_t layer_bytes, std::vector<DeviceMemory*> spaces);

  // A block was handed out anew: what it holds is of no use.
  void Forget(BlockId block);
  // Brings (block, layer) to `space` if it holds anything and is not there. Errors: as CopyIn and CopyOut.
  Status Bring(BlockId block, int32_t layer, int32_t space);
  // `space` is about to write to (block, layer). REQUIRES: it was brought there.
  void MarkWritten(BlockId block, int32_t layer, int32_t space);
  // The memory of `space` is lost, with every copy in it.
  void DropSpace(int32_t space);
  // True if the only copy of (block, layer) is in `space`.
  bool IsOnlyIn(BlockId block, int32_t layer, int32_t space) const;

 private:
  uint16_t& mask(BlockId block, int32_t layer) {
    return valid_[static_cast<size_t>(block) * static_cast<size_t>(num_layers_) + static_cast<size_t>(layer)];
  }

  const KvBlockPool& pool_;
  const int32_t num_layers_;
  const size_t layer_bytes_;
  const std::vector<DeviceMemory*> spaces_;
  std::vector<uint16_t> valid_;  // [blocks, layers] a bit for each space
};

}  // namespace lem
