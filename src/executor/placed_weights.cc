#include "executor/placed_weights.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace lem {
namespace {

// Kernels may read whole words at a weight's end.
constexpr size_t kWeightPadding = 16;

}  // namespace

uint64_t PlacedWeights::moved_bytes() const {
  const std::lock_guard lock(mutex_);
  return moved_bytes_;
}

Result<PlacedWeights::Place> PlacedWeights::Bring(const BoundGraph& model, size_t source,
                                                  const std::set<Device*>& users) {
  const std::span<const std::byte> bytes = model.weight_table->host_bytes(model.weights[source]);
  if (users.empty()) return Place{bytes, nullptr};
  const std::lock_guard lock(mutex_);
  homes_.resize(model.weights.size());
  Home& home = homes_[source];
  if (home.arena.data() == nullptr) {
    LEM_ASSIGN_OR_RETURN(home.arena, memory_.Allocate(MemoryUse::kWeights, bytes.size() + kWeightPadding));
  }
  for (Device* device : users) {
    if (std::ranges::find(home.users, device) != home.users.end()) continue;
    LEM_TRY(BringTo(*device, bytes, home)
                .WithContext(
                    fmt::format("weight {} cannot go to {}", model.graph->weights[source].name, device->caps().id)));
    home.users.push_back(device);
  }
  Place place{bytes, home.arena.data()};
  if (home.shared) {
    place.host_bytes = {home.arena.data(), bytes.size()};
  } else if (home.filled) {
    // Only the shadows hold it from here on: the host reads the file.
    ::madvise(home.arena.data(), home.arena.bytes(), MADV_DONTNEED);
    home.filled = false;
  }
  return place;
}

Status PlacedWeights::BringTo(Device& device, std::span<const std::byte> bytes, Home& home) {
  DeviceMemory& own = *device.memory();
  if (!home.filled) std::memcpy(home.arena.data(), bytes.data(), bytes.size());
  home.filled = true;
  LEM_TRY(home.arena.MapTo(own, home.arena.bytes()));
  if (!own.shares_host_memory()) {
    moved_bytes_ += bytes.size();
    return own.CopyIn(home.arena.data(), bytes.size(), TransferCause::kWeights);
  }
  // The one copy that was made above, whoever else shares it.
  memory_.ledger()
      .AccountOf(device.caps().id)
      .Add(TransferDirection::kToDevice, TransferCause::kWeights, home.shared ? 0 : bytes.size());
  if (!home.shared) moved_bytes_ += bytes.size();
  home.shared = true;
  return OkStatus();
}

}  // namespace lem
