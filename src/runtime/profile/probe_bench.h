// A made-up model on one device, ready to be measured: each part of each layer as a segment of its own, and the whole
// as one, as an answer would run it.
//
// Not thread-safe. Device, registry and memory must outlive it.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <vector>

#include "device/registry.h"
#include "executor/placed_model.h"
#include "memory/kv_block_pool.h"
#include "runtime/profile/machine_speed.h"
#include "runtime/profile/probe_design.h"

namespace lem {

// Milliseconds from submission to completion, lower quartiles: what other programs take away only ever adds.
struct StepTimes {
  std::array<double, 4> part_ms{};  // by Part, of one layer
  double step_ms = 0;               // of the whole model
};

class ProbeBench {
 public:
  ProbeBench(Device& device, MemoryManager& memory) : device_(device), memory_(memory) {}

  Status Place(const ProbeModel& model, const DeviceRegistry& devices);

  struct Times {
    StepTimes wall;          // at the speed of the meter's machine
    StepTimes device_clock;  // of an emulated device; 0 = it has none
  };
  // Parts come round as in a model, so that what a layer left in the caches is gone when its turn comes again.
  Result<Times> Measure(const ProbeStep& step, double budget_s, SpeedMeter& speed);

  // Submits the first feed-forward part for these rows.
  Result<DeviceEvent> SubmitOne(const ProbeStep& step);

 private:
  // Ops that are compiled as one, for each bucket of rows.
  struct Piece {
    Segment segment;
    std::vector<ValueBinding> values;
    std::map<std::pair<int64_t, Phase>, std::unique_ptr<Executable>> executables;
  };
  struct Inputs {
    std::vector<int32_t> tokens, output_rows;
    std::vector<SequenceRows> sequences;
    Phase phase = Phase::kPrefill;
  };
  struct Samples {
    std::array<std::vector<double>, 4> parts;
    std::vector<double> steps;
    void Append(const Samples& more, double factor);
    StepTimes Quartiles() const;
  };

  Status MakePieces();
  Result<Piece> MakePiece(Segment segment);
  Result<float*> AllocateValue(ValueId id);
  Inputs MakeInputs(const ProbeStep& step) const;
  Status Run(Piece& piece, const Inputs& inputs, std::vector<double>& wall, std::vector<double>& device_clock);
  Status RunRound(const Inputs& inputs, Samples& wall, Samples& device_clock);
  Result<Executable*> ExecutableFor(Piece& piece, const Inputs& inputs);

  Device& device_;
  MemoryManager& memory_;
  std::unique_ptr<PlacedModel> placed_;
  std::unique_ptr<KvBlockPool> kv_;
  std::vector<std::vector<BlockId>> blocks_;  // of each sequence
  std::map<ValueId, float*> value_data_;
  std::vector<Allocation> allocations_;
  Inputs submitted_;                           // that SubmitOne has begun
  std::vector<std::pair<Part, Piece>> parts_;  // after what they use: executables go first
  Piece whole_;
};

}  // namespace lem
