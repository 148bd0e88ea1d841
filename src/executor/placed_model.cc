#include "executor/placed_model.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <set>

namespace lem {
namespace {

// Kernels may read whole words at a weight's end.
constexpr size_t kWeightPadding = 16;

}  // namespace

Result<std::unique_ptr<PlacedModel>> PlacedModel::Create(const BoundGraph& model, const Placement& placement,
                                                         const DeviceRegistry& devices, MemoryManager& memory) {
  std::unique_ptr<PlacedModel> placed(new PlacedModel(placement));
  LEM_TRY(placed->FindDevices(devices));
  LEM_ASSIGN_OR_RETURN(placed->sliced_, SliceGraph(*model.graph, placement, placed->spaces_));
  LEM_TRY(placed->PlaceWeights(model, memory));
  placed->phases_are_alike_ = placed->ComparePhases();
  return placed;
}

Status PlacedModel::FindDevices(const DeviceRegistry& registry) {
  for (const std::string& id : placement_.DeviceIds()) {
    LEM_ASSIGN_OR_RETURN(Device * device, registry.Find(id));
    LEM_TRY(device->health().WithContext(fmt::format("device '{}' cannot be used", id)));
    devices_.push_back(device);
    SpaceId space = kHostSpace;
    if (device->memory() != nullptr && !device->memory()->shares_host_memory()) {
      space = static_cast<SpaceId>(space_memory_.size());
      space_memory_.push_back(device->memory());
    }
    spaces_.emplace(id, space);
  }
  return OkStatus();
}

bool PlacedModel::ComparePhases() const {
  const auto same_step = [](const PlanStep& a, const PlanStep& b) {
    return a.device_id == b.device_id && a.segment.op_begin == b.segment.op_begin &&
           a.segment.op_end == b.segment.op_end;
  };
  return std::ranges::equal(sliced_.prefill.steps, sliced_.decode.steps, same_step) &&
         std::ranges::all_of(devices_, [](const Device* device) {
           return device->caps().prefill_numerics == device->caps().decode_numerics;
         });
}

Status PlacedModel::PlaceWeights(const BoundGraph& model, MemoryManager& memory) {
  // Who, other than the host, reads which weight of the model.
  std::vector<std::set<Device*>> users(model.graph->weights.size());
  for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
    for (const PlanStep& step : sliced_.plan(phase).steps) {
      const auto device = std::ranges::find(devices_, step.device_id, [](Device* d) { return d->caps().id; });
      if ((*device)->memory() == nullptr) continue;
      for (int32_t i = step.segment.op_begin; i < step.segment.op_end; ++i) {
        for (const WeightSlot slot : OpWeights(sliced_.graph.ops[static_cast<size_t>(i)].body)) {
          users[static_cast<size_t>(sliced_.slices[static_cast<size_t>(slot)].source)].insert(*device);
        }
      }
    }
  }
  std::vector<std::span<const std::byte>> host_bytes(users.size());
  std::vector<const std::byte*> device_data(users.size(), nullptr);
  for (size_t source = 0; source < users.size(); ++source) {
    host_bytes[source] = model.weight_table->host_bytes(model.weights[source]);
    if (users[source].empty()) continue;
    const std::span<const std::byte> bytes = host_bytes[source];
    const std::string& name = model.graph->weights[source].name;
    LEM_ASSIGN_OR_RETURN(Allocation arena, memory.Allocate(MemoryUse::kWeights, bytes.size() + kWeightPadding));
    std::memcpy(arena.data(), bytes.data(), bytes.size());
    device_data[source] = arena.data();
    bool shared = false;
    for (Device* device : users[source]) {
      LEM_TRY(arena.MapTo(*device->memory(), arena.bytes())
                  .WithContext(fmt::format("weight {} cannot go to {}", name, device->caps().id)));
      if (device->memory()->shares_host_memory()) {
        memory.ledger()
            .AccountOf(device->caps().id)
            .Add(TransferDirection::kToDevice, TransferCause::kWeights, shared ? 0 : bytes.size());
        shared = true;
      } else {
        LEM_TRY(device->memory()
                    ->CopyIn(arena.data(), bytes.size(), TransferCause::kWeights)
                    .WithContext(fmt::format("weight {} cannot go to {}", name, device->caps().id)));
        moved_weight_bytes_ += bytes.size();
      }
    }
    if (shared) {
      moved_weight_bytes_ += bytes.size();
      host_bytes[source] = {arena.data(), bytes.size()};
    } else {
      // Only the shadows hold it: the host reads the file.
      ::madvise(arena.data(), arena.bytes(), MADV_DONTNEED);
    }
    arenas_.push_back(std::move(arena));
  }
  for (size_t slot = 0; slot < sliced_.slices.size(); ++slot) {
    const WeightSlice& slice = sliced_.slices[slot];
    const auto source = static_cast<size_t>(slice.source);
    const WeightInfo& info = sliced_.graph.weights[slot];
    WeightDesc desc = model.weight_table->desc(model.weights[source]);
    desc.name = info.name;
    size_t offset = 0;
    if (desc.rows == 1 && info.cols != desc.cols) {
      // A slice of a vector (a bias), which is one row of plain numbers.
      offset = desc.row_bytes / static_cast<size_t>(desc.cols) * static_cast<size_t>(slice.row_begin);
      desc.row_bytes = desc.row_bytes / static_cast<size_t>(desc.cols) * static_cast<size_t>(info.cols);
    } else {
      offset = desc.row_bytes * static_cast<size_t>(slice.row_begin);
    }
    desc.rows = info.rows;
    desc.cols = info.cols;
    const size_t bytes = desc.row_bytes * static_cast<size_t>(desc.rows);
    handles_.push_back(weights_.Add(std::move(desc), host_bytes[source].subspan(offset, bytes),
                                    model.weight_table->owner(model.weights[source]),
                                    device_data[source] == nullptr ? nullptr : device_data[source] + offset));
  }
  return OkStatus();
}

}  // namespace lem
