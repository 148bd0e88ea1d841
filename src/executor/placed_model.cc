#include "executor/placed_model.h"

#include <algorithm>

#include "base/check.h"

namespace lem {
Result<std::unique_ptr<PlacedModel>> PlacedModel::Create(const BoundGraph& model, const Placement& placement,
                                                         const DeviceRegistry& devices,
                                                         std::shared_ptr<PlacedWeights> weights) {
  std::unique_ptr<PlacedModel> placed(new PlacedModel(placement, devices.space_memory()));
  LEM_TRY(placed->FindDevices(devices));
  LEM_ASSIGN_OR_RETURN(placed->sliced_, SliceGraph(*model.graph, placement, placed->spaces_));
  LEM_TRY(placed->PlaceWeights(model, *weights));
  placed->placed_weights_ = std::move(weights);
  placed->phases_are_alike_ = placed->ComparePhases();
  return placed;
}

Status PlacedModel::FindDevices(const DeviceRegistry& registry) {
  for (const std::string& id : placement_.DeviceIds()) {
    LEM_ASSIGN_OR_RETURN(Device * device, registry.Find(id));
    LEM_TRY(device->health().WithContext(fmt::format("device '{}' cannot be used", id)));
    devices_.push_back(device);
    spaces_.emplace(id, registry.SpaceOf(*device));
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

std::vector<std::string_view> PlacedModel::Numerics(Phase phase) const {
  std::vector<std::string_view> numerics;
  numerics.reserve(sliced_.graph.ops.size());
  for (const PlanStep& step : sliced_.plan(phase).steps) {
    const DeviceCaps& caps = DeviceOf(step.device_id).caps();
    numerics.insert(numerics.end(), static_cast<size_t>(step.segment.op_end - step.segment.op_begin),
                    phase == Phase::kPrefill ? caps.prefill_numerics : caps.decode_numerics);
  }
  return numerics;
}

Device& PlacedModel::DeviceOf(std::string_view device_id) const {
  const auto found = std::ranges::find(devices_, device_id, [](Device* d) -> std::string_view { return d->caps().id; });
  LEM_CHECK(found != devices_.end()) << device_id;
  return **found;
}

Status PlacedModel::PlaceWeights(const BoundGraph& model, PlacedWeights& weights) {
  const std::vector<std::set<Device*>> users = FindUsers(model);
  std::vector<PlacedWeights::Place> places(users.size());
  for (size_t source = 0; source < users.size(); ++source) {
    LEM_ASSIGN_OR_RETURN(places[source], weights.Bring(model, source, users[source]));
  }
  for (size_t slot = 0; slot < sliced_.slices.size(); ++slot) {
    AddSlice(model, slot, places[static_cast<size_t>(sliced_.slices[slot].source)]);
  }
  return OkStatus();
}

// Who, other than the host, reads which weight of the model, in any phase.
std::vector<std::set<Device*>> PlacedModel::FindUsers(const BoundGraph& model) const {
  std::vector<std::set<Device*>> users(model.graph->weights.size());
  for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
    for (const PlanStep& step : sliced_.plan(phase).steps) {
      Device& device = DeviceOf(step.device_id);
      if (device.memory() == nullptr) continue;
      for (int32_t i = step.segment.op_begin; i < step.segment.op_end; ++i) {
        for (const WeightSlot slot : OpWeights(sliced_.graph.ops[static_cast<size_t>(i)].body)) {
          users[static_cast<size_t>(sliced_.slices[static_cast<size_t>(slot)].source)].insert(&device);
        }
      }
    }
  }
  return users;
}

void PlacedModel::AddSlice(const BoundGraph& model, size_t slot, const PlacedWeights::Place& source) {
  const WeightSlice& slice = sliced_.slices[slot];
  const WeightInfo& info = sliced_.graph.weights[slot];
  const WeightHandle original = model.weights[static_cast<size_t>(slice.source)];
  WeightDesc desc = model.weight_table->desc(original);
  desc.name = info.name;
  size_t offset = desc.row_bytes * static_cast<size_t>(slice.row_begin);
  if (desc.rows == 1 && info.cols != desc.cols) {
    // A slice of a vector (a bias), which is one row of plain numbers.
    const size_t element_bytes = desc.row_bytes / static_cast<size_t>(desc.cols);
    offset = element_bytes * static_cast<size_t>(slice.row_begin);
    desc.row_bytes = element_bytes * static_cast<size_t>(info.cols);
  }
  desc.rows = info.rows;
  desc.cols = info.cols;
  if (source.host_bytes.data() != model.weight_table->host_bytes(original).data()) desc.in_mapped_file = false;
  const size_t bytes = desc.row_bytes * static_cast<size_t>(desc.rows);
  handles_.push_back(weights_.Add(std::move(desc), source.host_bytes.subspan(offset, bytes),
                                  model.weight_table->owner(original),
                                  source.device_data == nullptr ? nullptr : source.device_data + offset));
}

}  // namespace lem
