#include "executor/executor.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

// The smallest bucket that a step of this many tokens fits, or the largest step.
int64_t BucketFor(const DeviceCaps& caps, int64_t num_tokens, int64_t max_tokens) {
  const auto found = std::ranges::lower_bound(caps.token_buckets, num_tokens);
  return found == caps.token_buckets.end() ? max_tokens : std::min(*found, max_tokens);
}

}  // namespace

Result<std::unique_ptr<Executor>> Executor::Create(const PlacedModel& model, const ShapeBucket& max,
                                                   MemoryManager& memory) {
  std::unique_ptr<Executor> executor(new Executor(model, max));
  LEM_TRY(executor->AssignMemory(memory));
  for (Step& step : executor->steps_) {
    for (const int64_t tokens : {int64_t{1}, max.max_tokens}) {
      LEM_TRY(executor->ExecutableFor(step, tokens).status());
    }
  }
  return executor;
}

// Gives every value that crosses a place, and notes what each step has to wait for.
Status Executor::AssignMemory(MemoryManager& memory) {
  const Graph& graph = model_.graph();
  const auto idx = [](ValueId value) { return static_cast<size_t>(value); };
  value_data_.assign(graph.values.size(), nullptr);
  producer_.assign(graph.values.size(), 0);
  std::vector<std::vector<size_t>> readers(graph.values.size());
  std::vector<SegmentBoundary> boundaries;
  for (const PlanStep& planned : plan_.steps) {
    Step step;
    step.device = &model_.DeviceOf(planned.device_id);
    step.space = model_.SpaceOf(planned.device_id);
    step.segment = planned.segment;
    boundaries.push_back(FindBoundary(graph, planned.segment));
    for (const ValueId in : boundaries.back().inputs) {
      readers[idx(in)].push_back(steps_.size());
      step.after.push_back(producer_[idx(in)]);
    }
    for (const ValueId out : boundaries.back().outputs) producer_[idx(out)] = steps_.size();
    for (int32_t op = planned.segment.op_begin; op < planned.segment.op_end; ++op) {
      const auto* attention = std::get_if<PagedAttentionOp>(&graph.ops[static_cast<size_t>(op)].body);
      if (attention != nullptr) step.kv_layers.push_back(attention->layer);
    }
    steps_.push_back(std::move(step));
  }
  struct Slot {
    size_t bytes = 0;
    size_t free_after = 0;      // the last step that uses it
    std::vector<size_t> users;  // of the value that is in it
  };
  std::vector<Slot> slots;
  std::vector<std::pair<ValueId, size_t>> assigned;
  for (size_t s = 0; s < steps_.size(); ++s) {
    for (const ValueId out : boundaries[s].outputs) {
      const Value& value = graph.values[idx(out)];
      const int64_t rows = value.rows == Rows::kTokens ? max_.max_tokens : max_.max_outputs;
      const size_t bytes = static_cast<size_t>(rows * value.cols) * sizeof(float);
      size_t best = slots.size();
      for (size_t i = 0; i < slots.size(); ++i) {
        if (slots[i].free_after >= s || slots[i].bytes < bytes) continue;
        if (best == slots.size() || slots[i].bytes < slots[best].bytes) best = i;
      }
      if (best == slots.size()) slots.push_back({.bytes = bytes});
      Slot& slot = slots[best];
      steps_[s].after.insert(steps_[s].after.end(), slot.users.begin(), slot.users.end());
      slot.users = readers[idx(out)];
      slot.users.push_back(s);
      slot.free_after = out == graph.logits ? steps_.size() : *std::ranges::max_element(slot.users);
      assigned.emplace_back(out, best);
    }
  }
  for (const Slot& slot : slots) {
    LEM_ASSIGN_OR_RETURN(Allocation allocation, memory.Allocate(MemoryUse::kActivations, slot.bytes));
    for (Device* device : model_.devices()) {
      if (device->memory() != nullptr) LEM_TRY(allocation.MapTo(*device->memory(), allocation.bytes()));
    }
    slots_.push_back(std::move(allocation));
  }
  for (const auto& [value, slot] : assigned) value_data_[idx(value)] = reinterpret_cast<float*>(slots_[slot].data());
  for (size_t s = 0; s < steps_.size(); ++s) {
    Step& step = steps_[s];
    for (const ValueId in : boundaries[s].inputs) step.values.push_back({in, value_data_[idx(in)]});
    for (const ValueId out : boundaries[s].outputs) step.values.push_back({out, value_data_[idx(out)]});
    std::ranges::sort(step.after);
    const auto unique = std::ranges::unique(step.after);
    step.after.erase(unique.begin(), unique.end());
    std::erase(step.after, s);
  }
  logits_ = value_data_[idx(graph.logits)];
  return OkStatus();
}

Result<Executable*> Executor::ExecutableFor(Step& step, int64_t num_tokens) {
  const int64_t tokens = BucketFor(step.device->caps(), num_tokens, max_.max_tokens);
  std::unique_ptr<Executable>& executable = step.executables[tokens];
  if (executable == nullptr) {
    const ShapeBucket bucket{tokens, std::min(tokens, max_.max_outputs), max_.phase};
    LEM_ASSIGN_OR_RETURN(executable, step.device->Compile(bound_, step.segment, bucket));
  }
  return executable.get();
}

// Devices that have nothing to do with each other go on working while these bytes are copied.
Status Executor::Move(const std::vector<Transfer>& transfers) {
  for (const Transfer& transfer : transfers) {
    const Value& value = model_.graph().values[static_cast<size_t>(transfer.value)];
    const size_t rows = value.rows == Rows::kTokens ? inputs_.tokens.size() : inputs_.output_rows.size();
    const size_t bytes = rows * static_cast<size_t>(value.cols) * sizeof(float);
    if (bytes == 0) continue;
    LEM_TRY(WaitFor(producer_[static_cast<size_t>(transfer.value)]));
    auto* data = reinterpret_cast<std::byte*>(value_data_[static_cast<size_t>(transfer.value)]);
    DeviceMemory& memory = *model_.space_memory()[static_cast<size_t>(std::max(transfer.from, transfer.to))];
    LEM_TRY(transfer.to == kHostSpace ? memory.CopyOut(data, bytes, TransferCause::kActivations)
                                      : memory.CopyIn(data, bytes, TransferCause::kActivations));
  }
  return OkStatus();
}

Status Executor::BringKv(const Step& step, KvResidency& kv) {
  for (const SequenceRows& sequence : inputs_.sequences) {
    const int64_t end = sequence.first_position + sequence.num_rows;
    for (int64_t block = 0; block * kKvBlockTokens < end; ++block) {
      const BlockId id = sequence.block_table[static_cast<size_t>(block)];
      const bool writes = (block + 1) * kKvBlockTokens > sequence.first_position;
      for (const int32_t layer : step.kv_layers) {
        LEM_TRY(kv.Bring(id, layer, step.space));
        if (writes) kv.MarkWritten(id, layer, step.space);
      }
    }
  }
  return OkStatus();
}

Status Executor::WaitFor(size_t step_idx) {
  if (awaited_[step_idx]) return done_[step_idx].Wait();
  awaited_[step_idx] = true;
  // A wait that does not block tells nothing of when the work ended.
  constexpr auto kBlocked = std::chrono::microseconds(10);
  const auto begin = std::chrono::steady_clock::now();
  Status status = done_[step_idx].Wait();
  StepTiming& timing = timings_[step_idx];
  timing.end = std::chrono::steady_clock::now();
  timing.exact = timing.end - begin > kBlocked;
  return status;
}

Status Executor::StartStep(size_t step_idx, KvResidency* kv) {
  Step& step = steps_[step_idx];
  LEM_TRY(Move(plan_.steps[step_idx].transfers));
  if (kv != nullptr && !step.kv_layers.empty()) LEM_TRY(BringKv(step, *kv));
  LEM_ASSIGN_OR_RETURN(Executable * executable, ExecutableFor(step, static_cast<int64_t>(inputs_.tokens.size())));
  std::vector<DeviceEvent> waits;
  waits.reserve(step.after.size());
  StepTiming timing;
  for (const size_t earlier : step.after) {
    // A device waits for its own work by itself; for that of others the host has to, in any case.
    if (steps_[earlier].device != step.device) LEM_TRY(WaitFor(earlier));
    waits.push_back(done_[earlier]);
  }
  Bindings bindings = inputs_;
  bindings.values = step.values;
  timing.begin = std::chrono::steady_clock::now();
  done_.push_back(step.device->Submit(*executable, bindings, waits));
  timing.end = std::chrono::steady_clock::now();
  timings_.push_back(timing);
  awaited_.push_back(done_.back().state() == nullptr);
  return OkStatus();
}

void Executor::Start(const Bindings& inputs, KvResidency* kv) {
  LEM_CHECK(kv != nullptr || model_.all_in_host_memory());
  inputs_ = inputs;
  done_.clear();
  awaited_.clear();
  timings_.clear();
  status_ = OkStatus();
  for (size_t s = 0; s < steps_.size() && status_.ok(); ++s) status_ = StartStep(s, kv);
}

Status Executor::Finish() {
  if (status_.ok()) status_ = Move(plan_.last_transfers);
  // Also after an error: the caller may free or rewrite what the devices read.
  for (size_t s = 0; s < done_.size(); ++s) {
    if (Status finished = WaitFor(s); !finished.ok() && status_.ok()) status_ = std::move(finished);
    // Work of one device is done in order.
    for (size_t earlier = 0; earlier < s; ++earlier) {
      if (steps_[earlier].device != steps_[s].device) continue;
      timings_[s].begin = std::max(timings_[s].begin, timings_[earlier].end);
      timings_[s].exact = timings_[s].exact && timings_[earlier].exact;
    }
    timings_[s].end = std::max(timings_[s].end, timings_[s].begin);
  }
  return std::exchange(status_, OkStatus());
}

}  // namespace lem
