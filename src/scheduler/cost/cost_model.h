// What a step costs on a device: time = launch + max(operations / rate, bytes / free bandwidth) + sync + copy +
// padding, times what a learned model and online correction know better, times contention; joules beside it.
//
// Pure arithmetic on profiles: no clock, no I/O. Not thread-safe: whoever plans also observes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "scheduler/cost/correction.h"
#include "scheduler/cost/device_profile.h"
#include "scheduler/cost/model_work.h"
#include "scheduler/cost/residual_model.h"

namespace lem {

// Rows of one step.
struct StepShape {
  Phase phase = Phase::kPrefill;
  double rows = 1;       // tokens
  double sequences = 1;  // that they belong to
  double context = 0;    // tokens that a row looks back at, on average
  bool operator==(const StepShape&) const = default;
};

// What the devices are busy with now.
struct DeviceState {
  bool available = true;
  double queue_ms = 0;  // until it is free
  double slowdown = 1;  // of its work by others that use it at the same time
  // Buckets (padded rows) that it has executables for; null = all that it will need.
  std::optional<std::vector<int64_t>> compiled_rows;
};
struct MachineState {
  std::vector<DeviceState> devices;  // by index; empty = all free
  double used_gbs = 0;               // of the shared DRAM, by others
};

// A part's step on one device. Times are predictions of the middle (p50).
struct PartCost {
  double compute_ms = 0, memory_ms = 0;  // of the products
  double attention_ms = 0;               // of scores and sums
  double fixed_ms = 0;                   // what each layer takes beside its work
  double factor = 1;                     // learned, corrected, contended
  double log_error = 0;                  // standard deviation of log(true time / ms)
  double macs = 0, bytes = 0;            // padding included

  double products_ms() const { return compute_ms > memory_ms ? compute_ms : memory_ms; }
  double ms() const { return (products_ms() + attention_ms + fixed_ms) * factor; }
};

// Of the DRAM's nominal bandwidth, devices together reach this much: 59.5 of 68 GB/s by two devices (arXiv 2501.14794).
inline constexpr double kDramShare = 0.875;

// Of the true time, nine of ten are below p50 * exp(kP90 * log_error).
inline constexpr double kP90 = 1.2816;

class CostModel {
 public:
  // Errors: those of CheckProfile. Joules are told as `source` would read them (ViewPower).
  static Result<CostModel> Create(const MachineProfile& machine, PowerSource source = PowerSource::kUnavailable);

  const MachineProfile& machine() const { return view_.machine; }
  const PowerView& power() const { return view_; }
  int num_devices() const { return static_cast<int>(machine().devices.size()); }
  const DeviceProfile& device(int idx) const { return machine().devices[static_cast<size_t>(idx)]; }

  // The latest state is part of every prediction. REQUIRES: one state a device, or none.
  void SetState(MachineState state) { state_ = std::move(state); }
  const MachineState& state() const { return state_; }
  const DeviceState& state(int device) const;
  void SetResidual(int device, ResidualModel model) { residuals_[static_cast<size_t>(device)] = std::move(model); }
  CorrectionTable& corrections() { return corrections_; }
  const CorrectionTable& corrections() const { return corrections_; }

  // How much better than predicted unseen work is hoped to be, in standard deviations: makes planners try what they
  // know least, where trying costs least. 0 = none.
  void SetOptimism(double deviations) { optimism_ = deviations; }

  PartCost Predict(int device, const ModelWork& model, const PartWork& work, const StepShape& shape) const;
  // Of one step: to begin a segment, and from a segment's end to a row of `bytes` being where the next device reads it.
  double LaunchMs(int device, Phase phase) const;
  double HandOverMs(int from, int to, Phase phase, double bytes) const;
  // The end of the last segment, and the logits in the host's memory.
  double FinishMs(int device, Phase phase, double bytes) const;
  // Factor of products that two devices work on at once; what is learned of it is `rows_device`'s.
  double JointFactor(int rest, int rows_device, Phase phase) const;
  // Bandwidth that `device` has left when `other` reads beside it, as a share of what it has alone.
  double SharedBandwidth(int device, int other) const;
  // 0 if the device has an executable for a step of these rows.
  double CompileMs(int device, double rows) const;

  // Joules of a part's step beside MachineProfile::base_w, and of waiting or moving for so long.
  double PartJoules(int device, const PartCost& cost) const;
  double BusyJoules(int device, double ms) const { return device_power(device).busy_w * ms * 1e-3; }
  double IdleWatts() const;

  FeatureVector Features(int device, const ModelWork& model, const PartWork& work, const StepShape& shape) const;

  // A segment's measured time, its launch not counted: `parts` (indices into the model's classes, again for each layer)
  // of it ran on the device in this shape, its head for `output_rows`. What is learned is measured / predicted without
  // correction, shared by the kinds of parts in it.
  void Observe(int device, const ModelWork& model, std::span<const int32_t> parts, const StepShape& shape,
               double output_rows, double measured_ms);
  // Of switches and joint products: measured / predicted with the present corrections.
  void ObserveRatio(int device, CostKind kind, Phase phase, double ratio);

 private:
  explicit CostModel(PowerView view);
  const DevicePower& device_power(int device) const { return this->device(device).power; }
  PartCost Roofline(const DeviceProfile& device, const PartWork& work, const StepShape& shape) const;
  double FreeBandwidth(const DeviceProfile& device) const;
  double Hope(const Correction& correction) const;

  PowerView view_;
  MachineState state_;
  std::vector<ResidualModel> residuals_;  // by device
  CorrectionTable corrections_;
  double optimism_ = 0;
};

// The same parts of a step, predicted: launch and finish are the caller's to add. 0 output rows leave the head out.
double PredictPartsMs(const CostModel& costs, int device, const ModelWork& model, std::span<const int32_t> parts,
                      const StepShape& shape, double output_rows);

}  // namespace lem
