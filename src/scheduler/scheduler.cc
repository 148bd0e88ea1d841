#include "scheduler/scheduler.h"

#include <algorithm>

namespace lem {

void Scheduler::Enqueue(const SequenceDemand& demand) { waiting_.push_back(demand); }

void Scheduler::Remove(SequenceId id) {
  std::erase_if(waiting_, [id](const SequenceDemand& d) { return d.id == id; });
  std::erase_if(running_, [id](const Running& r) { return r.demand.id == id; });
}

std::optional<int64_t> Scheduler::PositionOf(SequenceId id) const {
  for (size_t i = 0; i < waiting_.size(); ++i) {
    if (waiting_[i].id == id) return static_cast<int64_t>(i);
  }
  return std::nullopt;
}

std::vector<SequenceId> Scheduler::Admit(std::vector<ModelCapacity> capacity) {
  std::vector<SequenceId> admitted;
  std::vector<int64_t> num_running(static_cast<size_t>(num_models_), 0);
  for (const Running& r : running_) ++num_running[static_cast<size_t>(r.demand.model)];
  // A sequence that does not fit holds back the later ones of its model (no overtaking, so no starvation), but not
  // those of other models.
  std::vector<bool> blocked(static_cast<size_t>(num_models_), false);
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    const auto model = static_cast<size_t>(it->model);
    ModelCapacity& room = capacity[model];
    if (blocked[model] || it->max_blocks > room.free_blocks || num_running[model] >= room.max_running) {
      blocked[model] = true;
      ++it;
      continue;
    }
    room.free_blocks -= it->max_blocks;
    ++num_running[model];
    admitted.push_back(it->id);
    running_.push_back({*it, 0});
    it = waiting_.erase(it);
  }
  return admitted;
}

void Scheduler::Skip(SequenceId id, int64_t num_tokens) {
  const auto it = std::ranges::find(running_, id, [](const Running& r) { return r.demand.id; });
  if (it != running_.end()) it->computed = num_tokens;
}

std::vector<StepRows> Scheduler::RowsFor(int32_t model, const ModelCapacity& capacity) const {
  std::vector<StepRows> rows;
  int64_t tokens_left = capacity.max_step_tokens;
  int64_t outputs_left = capacity.max_step_outputs;
  for (const Running& r : running_) {
    if (r.demand.model != model || !r.decoding() || tokens_left == 0 || outputs_left == 0) continue;
    rows.push_back({r.demand.id, 1});
    --tokens_left;
    --outputs_left;
  }
  for (const Running& r : running_) {
    if (r.demand.model != model || r.decoding() || tokens_left == 0 || outputs_left == 0) continue;
    int64_t chunk = std::min(r.demand.prompt_tokens - r.computed, tokens_left);
    if (r.demand.outputs_every_row) chunk = std::min(chunk, outputs_left);
    rows.push_back({r.demand.id, chunk});
    tokens_left -= chunk;
    outputs_left -= r.demand.outputs_every_row ? chunk : 1;
  }
  return rows;
}

Decision Scheduler::Next(const std::vector<ModelCapacity>& capacity) {
  Decision decision;
  for (int32_t i = 1; i <= num_models_; ++i) {
    const int32_t model = (last_model_ + i) % num_models_;
    decision.rows = RowsFor(model, capacity[static_cast<size_t>(model)]);
    if (decision.rows.empty()) continue;
    decision.model = model;
    last_model_ = model;
    break;
  }
  return decision;
}

void Scheduler::StepDone(const std::vector<StepRows>& rows) {
  for (const StepRows& row : rows) {
    const auto it = std::ranges::find(running_, row.id, [](const Running& r) { return r.demand.id; });
    if (it != running_.end()) it->computed += row.num_tokens;
  }
}

}  // namespace lem
