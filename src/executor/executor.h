// Runs one phase of a placed model: submits the steps of its plan, each after those whose values it reads, so that
// devices that do not depend on each other work at the same time.
//
// Values that cross from step to step have an address in the address space; where a device has a memory of its own the
// plan's transfers are done between the steps. Executables are compiled for the buckets that their device asks for, the
// first time one is needed.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <vector>

#include "executor/placed_model.h"
#include "memory/kv_residency.h"

namespace lem {

// When one step of a plan was at work, as the host saw it.
struct StepTiming {
  using TimePoint = std::chrono::steady_clock::time_point;
  TimePoint begin, end;
  // False if the host looked only later: the work ended before `end`, nobody knows when.
  bool exact = true;
};

// Not thread-safe: one run at a time. The placed model and the memory must outlive it.
class Executor {
 public:
  // Compiles every step for one token and for the largest step, so that what cannot run is known now. `max`: the
  // largest step of this phase. Errors: as Device::Compile, ResourceExhausted.
  static Result<std::unique_ptr<Executor>> Create(const PlacedModel& model, const ShapeBucket& max,
                                                  MemoryManager& memory);

  // Begins one step, and returns when nothing more can be submitted without waiting for a device that it does not need.
  // What `inputs` points to stays valid until Finish; `inputs.values` is ignored. `kv` may be null if everything is in
  // the host's memory. REQUIRES: the step fits the largest; the one before is finished.
  void Start(const Bindings& inputs, KvResidency* kv);
  // Nothing of the step is under way any more when it returns. Errors: of the devices.
  Status Finish();
  Status Run(const Bindings& inputs, KvResidency* kv) {
    Start(inputs, kv);
    return Finish();
  }

  // Of the last step that was finished without an error, by steps of the plan.
  const std::vector<StepTiming>& timings() const { return timings_; }

  // [O, vocab_size] of the last step, valid until the next. May be changed.
  float* logits() const { return logits_; }
  const Plan& plan() const { return plan_; }

 private:
  struct Step {
    Device* device = nullptr;
    SpaceId space = kHostSpace;
    Segment segment;
    std::vector<ValueBinding> values;                            // of the boundary
    std::vector<size_t> after;                                   // steps that must be over first
    std::vector<int32_t> kv_layers;                              // whose keys and values it reads and writes
    std::map<int64_t, std::unique_ptr<Executable>> executables;  // by tokens of the bucket
  };

  Executor(const PlacedModel& model, const ShapeBucket& max)
      : model_(model), plan_(model.plan(max.phase)), max_(max), bound_(model.bound()) {}
  Status AssignMemory(MemoryManager& memory);
  Result<Executable*> ExecutableFor(Step& step, int64_t num_tokens);
  Status StartStep(size_t step_idx, KvResidency* kv);
  Status Move(const std::vector<Transfer>& transfers);
  Status BringKv(const Step& step, KvResidency& kv);
  Status WaitFor(size_t step_idx);

  const PlacedModel& model_;
  const Plan& plan_;
  const ShapeBucket max_;
  const BoundGraph bound_;
  std::vector<Step> steps_;
  std::vector<Allocation> slots_;   // memory of values that cross, reused when they are dead
  std::vector<float*> value_data_;  // [values] null for those that do not cross
  std::vector<size_t> producer_;    // [values] step
  float* logits_ = nullptr;

  // Of the step under way.
  Bindings inputs_;
  std::vector<DeviceEvent> done_;
  std::vector<bool> awaited_;
  std::vector<StepTiming> timings_;
  Status status_;
};

}  // namespace lem
