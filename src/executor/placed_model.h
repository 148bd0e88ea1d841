// A model cut by a placement, with its weights where the devices that use them can reach them.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "device/registry.h"
#include "graph/slicer.h"
#include "memory/memory_manager.h"

namespace lem {

// Immutable after Create. Devices, memory and the model's owners of bytes must outlive it.
class PlacedModel {
 public:
  // Cuts the graph and moves weights: to devices that share the host's memory by one copy into the address space, which
  // the host then uses, too; to others by an upload. Errors: NotFound (device), Unavailable (device lost),
  // ResourceExhausted (weights do not fit, with the numbers), and those of SliceGraph.
  static Result<std::unique_ptr<PlacedModel>> Create(const BoundGraph& model, const Placement& placement,
                                                     const DeviceRegistry& devices, MemoryManager& memory);

  const Graph& graph() const { return sliced_.graph; }
  const Plan& plan(Phase phase) const { return sliced_.plan(phase); }
  const Placement& placement() const { return placement_; }
  BoundGraph bound() const { return {&sliced_.graph, handles_, &weights_}; }
  // Devices in use; space_memory()[space] is what copies to and from a space go through, null for the host.
  const std::vector<Device*>& devices() const { return devices_; }
  const std::vector<DeviceMemory*>& space_memory() const { return space_memory_; }
  // REQUIRES, of both: a plan names the device.
  Device& DeviceOf(std::string_view device_id) const;
  SpaceId SpaceOf(std::string_view device_id) const { return spaces_.find(device_id)->second; }
  bool all_in_host_memory() const { return space_memory_.size() == 1; }
  // True if both phases run by the same steps in the same numerics, so that one submission may serve both.
  bool phases_are_alike() const { return phases_are_alike_; }
  // The numerics class of each op of graph().
  std::vector<std::string_view> Numerics(Phase phase) const;
  // Bytes of weights that were moved for this placement.
  uint64_t moved_weight_bytes() const { return moved_weight_bytes_; }

 private:
  explicit PlacedModel(Placement placement) : placement_(std::move(placement)) {}
  Status FindDevices(const DeviceRegistry& registry);
  // Where a weight of the model is: for the host, and for the devices that it is mapped to.
  struct PlacedWeight {
    std::span<const std::byte> host_bytes;
    const std::byte* device_data = nullptr;  // null: no device but the host uses it
  };
  Status PlaceWeights(const BoundGraph& model, MemoryManager& memory);
  std::vector<std::set<Device*>> FindUsers(const BoundGraph& model) const;
  Result<PlacedWeight> PlaceWeight(const std::string& name, std::span<const std::byte> bytes,
                                   const std::set<Device*>& users, MemoryManager& memory);
  void AddSlice(const BoundGraph& model, size_t slot, const PlacedWeight& source);
  bool ComparePhases() const;

  const Placement placement_;
  std::vector<Device*> devices_;
  DeviceSpaces spaces_;
  std::vector<DeviceMemory*> space_memory_{nullptr};
  SlicedGraph sliced_;
  WeightTable weights_;
  std::vector<WeightHandle> handles_;  // by slot of the sliced graph
  std::vector<Allocation> arenas_;
  bool phases_are_alike_ = false;
  uint64_t moved_weight_bytes_ = 0;
};

}  // namespace lem
