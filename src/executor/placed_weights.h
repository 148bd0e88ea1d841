// Where the weights of a model are beside its file: each at one address of the address space, brought to a device when
// the first way through the model needs it there. Shared by all ways through the model, so that no device holds a
// weight twice.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <vector>

#include "device/device.h"
#include "memory/memory_manager.h"

namespace lem {

// Thread-safe. Devices and the memory must outlive it.
class PlacedWeights {
 public:
  explicit PlacedWeights(MemoryManager& memory) : memory_(memory) {}

  // Where a weight is for the host, and for the devices that it was brought to.
  struct Place {
    std::span<const std::byte> host_bytes;
    const std::byte* device_data = nullptr;  // null: no device but the host uses it
  };
  // Brings weight `source` of the model to `users`: to devices that share the host's memory by one copy into the
  // address space, which the host then uses, too; to others by an upload. Errors: ResourceExhausted (with the numbers),
  // Unavailable (device lost), naming weight and device.
  Result<Place> Bring(const BoundGraph& model, size_t source, const std::set<Device*>& users);

  // Bytes that were copied or uploaded so far.
  uint64_t moved_bytes() const;

 private:
  struct Home {
    Allocation arena;
    std::vector<Device*> users;
    bool filled = false;  // the arena's pages hold the bytes, and not only the shadows
    bool shared = false;  // by a device that works in the host's memory
  };
  Status BringTo(Device& device, std::span<const std::byte> bytes, Home& home);

  MemoryManager& memory_;
  mutable std::mutex mutex_;
  std::vector<Home> homes_;  // by source
  uint64_t moved_bytes_ = 0;
};

}  // namespace lem
