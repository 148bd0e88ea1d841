// Runs a Plan: submits each segment to its device in order, each waiting for the one before, and hands values that
// cross from one segment to the next through host memory.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "base/aligned.h"
#include "device/registry.h"
#include "graph/plan.h"

namespace lem {

// Not thread-safe: one run at a time. The bound graph and the registry must outlive it.
class Executor {
 public:
  // Compiles every segment. Errors: as Device::Compile, and NotFound for a device that is not there.
  static Result<std::unique_ptr<Executor>> Create(const BoundGraph& model, Plan plan, const DeviceRegistry& devices);

  // Runs one step; logits: [O, vocab_size], written. `inputs.values` is ignored. REQUIRES: the step fits plan().bucket.
  Status Run(const Bindings& inputs, float* logits);

  const Plan& plan() const { return plan_; }

 private:
  struct Step {
    Device* device = nullptr;
    std::unique_ptr<Executable> executable;
    SegmentBoundary boundary;
  };

  Executor(const Graph& graph, Plan plan) : graph_(graph), plan_(std::move(plan)) {}
  float* ValueMemory(ValueId value, const Bindings& inputs, float* logits);

  const Graph& graph_;
  const Plan plan_;
  std::vector<Step> steps_;
  std::map<ValueId, AlignedVector<float>> crossing_;  // values between segments, kept from step to step
};

}  // namespace lem
