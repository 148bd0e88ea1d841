// Runs one phase of a placed model: submits the steps of its plan, each after those whose values it reads, so that
// devices that do not depend on each other work at the same time.
//
// Values that cross from step to step have an address in the address space; where a device has a memory of its own the
// plan's transfers are done between the steps. Executables are compiled for the buckets that their device asks for, the
// first time one is needed.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "executor/placed_model.h"
#include "memory/kv_residency.h"

namespace lem {

// Not thread-safe: one run at a time. The placed model and the memory must outlive it.
class Executor {
 public:
  // Compiles every step for one token and for the largest step, so that what cannot run is known now. `max`: the
  // largest step of this phase. Errors: as Device::Compile, ResourceExhausted.
  static Result<std::unique_ptr<Executor>> Create(const PlacedModel& model, const ShapeBucket& max,
                                                  MemoryManager& memory);

  // Runs one step. `inputs.values` is ignored. `kv` may be null if everything is in the host's memory. Nothing of the
  // step is under way any more when it returns. REQUIRES: the step fits the largest. Errors: of the devices.
  Status Run(const Bindings& inputs, KvResidency* kv);

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
  Status RunStep(size_t step_idx, const Bindings& inputs, KvResidency* kv, std::vector<DeviceEvent>& done);
  Status Move(const std::vector<Transfer>& transfers, const Bindings& inputs, const std::vector<DeviceEvent>& done);
  Status BringKv(const Step& step, const Bindings& inputs, KvResidency& kv);

  const PlacedModel& model_;
  const Plan& plan_;
  const ShapeBucket max_;
  const BoundGraph bound_;
  std::vector<Step> steps_;
  std::vector<Allocation> slots_;   // memory of values that cross, reused when they are dead
  std::vector<float*> value_data_;  // [values] null for those that do not cross
  std::vector<size_t> producer_;    // [values] step
  float* logits_ = nullptr;
};

}  // namespace lem
