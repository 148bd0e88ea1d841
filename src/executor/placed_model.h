// A model cut by a placement, with its weights where the devices that use them can reach them.
#pragma once

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "device/registry.h"
#include "executor/placed_weights.h"
#include "graph/slicer.h"

namespace lem {

// Immutable after Create. Devices, memory and the model's owners of bytes must outlive it.
class PlacedModel {
 public:
  // Cuts the graph and brings the weights to their devices. Errors: NotFound (device), Unavailable (device lost), and
  // those of PlacedWeights::Bring and SliceGraph.
  static Result<std::unique_ptr<PlacedModel>> Create(const BoundGraph& model, const Placement& placement,
                                                     const DeviceRegistry& devices,
                                                     std::shared_ptr<PlacedWeights> weights);
  // The same for the only way through a model.
  static Result<std::unique_ptr<PlacedModel>> Create(const BoundGraph& model, const Placement& placement,
                                                     const DeviceRegistry& devices, MemoryManager& memory) {
    return Create(model, placement, devices, std::make_shared<PlacedWeights>(memory));
  }

  const Graph& graph() const { return sliced_.graph; }
  const Plan& plan(Phase phase) const { return sliced_.plan(phase); }
  const Placement& placement() const { return placement_; }
  BoundGraph bound() const { return {&sliced_.graph, handles_, &weights_}; }
  const std::vector<Device*>& devices() const { return devices_; }  // in use
  // As DeviceRegistry::space_memory.
  const std::vector<DeviceMemory*>& space_memory() const { return space_memory_; }
  // REQUIRES, of both: a plan names the device.
  Device& DeviceOf(std::string_view device_id) const;
  SpaceId SpaceOf(std::string_view device_id) const { return spaces_.find(device_id)->second; }
  bool all_in_host_memory() const {
    return std::ranges::all_of(spaces_, [](const auto& space) { return space.second == kHostSpace; });
  }
  // True if both phases run by the same steps in the same numerics, so that one submission may serve both.
  bool phases_are_alike() const { return phases_are_alike_; }
  // The numerics class of each op of graph().
  std::vector<std::string_view> Numerics(Phase phase) const;

 private:
  PlacedModel(Placement placement, std::vector<DeviceMemory*> space_memory)
      : placement_(std::move(placement)), space_memory_(std::move(space_memory)) {}
  Status FindDevices(const DeviceRegistry& registry);
  Status PlaceWeights(const BoundGraph& model, PlacedWeights& weights);
  std::vector<std::set<Device*>> FindUsers(const BoundGraph& model) const;
  void AddSlice(const BoundGraph& model, size_t slot, const PlacedWeights::Place& source);
  bool ComparePhases() const;

  const Placement placement_;
  std::vector<Device*> devices_;
  DeviceSpaces spaces_;
  const std::vector<DeviceMemory*> space_memory_;
  SlicedGraph sliced_;
  WeightTable weights_;
  std::vector<WeightHandle> handles_;  // by slot of the sliced graph
  std::shared_ptr<PlacedWeights> placed_weights_;
  bool phases_are_alike_ = false;
};

}  // namespace lem
