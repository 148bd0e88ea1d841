// What the engine does when a device is lost.
#include <algorithm>
#include <map>

#include "base/integer_math.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/engine_sequence.h"

namespace lem {

// Repeats a batch that failed, without the devices that were lost.
Status Engine::Recover(Batch& batch) {
  Status status = std::move(batch.status);
  for (;;) {
    // Another batch of this step may have left the device already.
    const std::shared_ptr<Route>& route = sequences_.at(batch.rows.front().id)->route;
    if (route == batch.route) LEM_TRY(LeaveLostDevices(status));
    batch.route = sequences_.at(batch.rows.front().id)->route;
    if (batch.route == nullptr) return Unavailable("a device was lost and the model could not be placed without it");
    status = batch.route->executor(batch.phase).Run(BindingsOf(batch), kv_residency_.get());
    if (status.ok()) return OkStatus();
  }
}

// Moves the work of devices that were lost to the CPU. Keys and values that were in their memory are computed anew, in
// the numerics of the CPU. Returns `cause` if no device was lost.
Status Engine::LeaveLostDevices(const Status& cause) {
  std::vector<Device*> lost;
  std::vector<SpaceId> lost_spaces;
  for (const auto& device : devices_.devices()) {
    if (device->health().ok()) continue;
    lost.push_back(device.get());
    lost_spaces.push_back(devices_.SpaceOf(*device));
  }
  const auto uses_lost = [&](const Route& route) {
    return std::ranges::any_of(route.placed().devices(),
                               [&](Device* device) { return std::ranges::find(lost, device) != lost.end(); });
  };
  std::vector<Sequence*> moved;
  std::vector<const Sequence*> to_replay;
  for (const auto& [id, sequence] : sequences_) {
    if (sequence->route == nullptr || !uses_lost(*sequence->route)) continue;
    LEM_ASSIGN_OR_RETURN(const bool complete, BringKvToHost(*sequence, lost_spaces));
    moved.push_back(sequence.get());
    if (!complete) to_replay.push_back(sequence.get());
  }
  if (moved.empty()) return cause;
  for (Device* device : lost) {
    LogError("device {} is lost ({}): its work goes on on the CPU, {} sequences are under way", device->caps().id,
             device->health().message(), moved.size());
  }
  routes_.CloseLost();
  if (kv_residency_ != nullptr) {
    for (const SpaceId space : lost_spaces) {
      if (space != kHostSpace) kv_residency_->DropSpace(space);
    }
  }
  if (prefix_cache_ != nullptr) prefix_cache_->Clear();  // some of it may have been in a lost memory only
  std::map<const Route*, std::shared_ptr<Route>> heirs;
  const auto heir_of = [&](const std::shared_ptr<Route>& route) -> Result<std::shared_ptr<Route>> {
    std::shared_ptr<Route>& heir = heirs[route.get()];
    if (heir != nullptr) return heir;
    Placement placement = route->placed().placement();
    for (const Device* device : lost) placement = placement.Without(device->caps().id, "cpu");
    heir = routes_.Find(FormatPlacement(placement));
    if (heir != nullptr) return heir;
    LEM_ASSIGN_OR_RETURN(auto placed, routes_.Place(placement));
    LEM_ASSIGN_OR_RETURN(heir, routes_.Open(std::move(placed)));
    return heir;
  };
  for (Sequence* sequence : moved) {
    const std::shared_ptr<Route> before = std::exchange(sequence->route, nullptr);
    sequence->cache_space.clear();
    LEM_ASSIGN_OR_RETURN(sequence->route, heir_of(before));
  }
  if (route_ != nullptr && uses_lost(*route_)) {
    const std::shared_ptr<Route> before = std::exchange(route_, nullptr);
    LEM_ASSIGN_OR_RETURN(route_, heir_of(before));
  }
  for (const Sequence* sequence : to_replay) LEM_TRY(Replay(*sequence));
  return OkStatus();
}

// False if something was only in a lost memory.
Result<bool> Engine::BringKvToHost(const Sequence& sequence, const std::vector<SpaceId>& lost_spaces) {
  if (kv_residency_ == nullptr) return true;
  const auto num_blocks = static_cast<size_t>(DivideUp(sequence.num_computed, kKvBlockTokens));
  for (size_t i = 0; i < num_blocks; ++i) {
    for (int32_t layer = 0; layer < model_.graph.kv.num_layers; ++layer) {
      const BlockId block = sequence.blocks[i];
      const bool is_lost = std::ranges::any_of(lost_spaces, [&](SpaceId space) {
        return space != kHostSpace && kv_residency_->IsOnlyIn(block, layer, space);
      });
      if (is_lost) return false;
      LEM_TRY(kv_residency_->Bring(block, layer, kHostSpace));
    }
  }
  return true;
}

// Computes the keys and values of a sequence from its tokens again.
Status Engine::Replay(const Sequence& sequence) {
  for (int64_t position = 0; position < sequence.num_computed;) {
    const int64_t count = std::min(options_.max_step_tokens, sequence.num_computed - position);
    const std::vector<int32_t> tokens = sequence.Tokens(position, position + count);
    const SequenceRows rows[] = {{0, count, position, sequence.blocks}};
    Bindings bindings;
    bindings.tokens = tokens;
    bindings.sequences = rows;
    bindings.kv_base = pool_->base();
    bindings.kv_block_bytes = pool_->block_bytes();
    LEM_TRY(sequence.route->executor(Phase::kPrefill).Run(bindings, kv_residency_.get()));
    position += count;
  }
  return OkStatus();
}

}  // namespace lem
