#include "scheduler/cost/cost_model.h"

#include <algorithm>
#include <cmath>

namespace lem {
namespace {

// Keys and values are read once for so many rows of a prompt: the query tile of attention kernels.
constexpr double kQueryTile = 128;
// A device always gets some of the bandwidth, however much others take.
constexpr double kMinBandwidthShare = 0.1;

CostKind KindOf(Part part) { return static_cast<CostKind>(part); }

double Log2(double value) { return std::log2(std::max(value, 1.0)); }

std::vector<double> PriorErrors(const MachineProfile& machine) {
  std::vector<double> errors;
  errors.reserve(machine.devices.size());
  for (const DeviceProfile& device : machine.devices) errors.push_back(device.log_error);
  return errors;
}

// Tokens that one row's attention reads, and those that all rows of the step read together.
struct AttentionReach {
  double per_row = 0, read = 0;
};
AttentionReach Reach(const PartWork& work, const StepShape& shape) {
  AttentionReach reach{.per_row = shape.context, .read = 0};
  if (work.window > 0) reach.per_row = std::min(reach.per_row, work.window);
  const double rows_each = shape.rows / shape.sequences;
  const double tiles = std::ceil(rows_each / kQueryTile);
  // Rows of one tile look at windows that overlap.
  const double of_tile =
      std::min(reach.per_row + (work.window > 0 ? std::min(rows_each, kQueryTile) : 0), shape.context);
  reach.read = shape.sequences * tiles * std::max(of_tile, 1.0);
  return reach;
}

// The head works on the rows whose logits are asked for, all other parts on all.
StepShape ShapeOfPart(const PartWork& work, StepShape shape, double output_rows) {
  if (work.part == Part::kHead) {
    shape.rows = output_rows;
    shape.sequences = std::min(shape.sequences, output_rows);
  }
  return shape;
}

// Each class once, with how often it is there: layers are alike, and a prediction walks through many trees.
std::vector<std::pair<int32_t, int>> CountParts(const ModelWork& model, std::span<const int32_t> parts) {
  std::vector<int> counts(model.classes.size());
  for (const int32_t idx : parts) ++counts[static_cast<size_t>(idx)];
  std::vector<std::pair<int32_t, int>> counted;
  for (size_t idx = 0; idx < counts.size(); ++idx) {
    if (counts[idx] > 0) counted.emplace_back(static_cast<int32_t>(idx), counts[idx]);
  }
  return counted;
}

// Of the products of a part, whose weights may have several formats.
double ProductTflops(const DeviceProfile& device, const PartWork& work, const StepShape& shape, double rows) {
  const Phase phase = work.part == Part::kHead ? Phase::kDecode : shape.phase;
  if (work.formats.empty()) return device.GemmTflops(work.weights, rows, phase);
  double seconds = 0;
  for (const FormatShare& format : work.formats)
    seconds += format.share / device.GemmTflops(format.weights, rows, phase);
  return 1 / seconds;
}

}  // namespace

CostModel::CostModel(PowerView view)
    : view_(std::move(view)), residuals_(view_.machine.devices.size()), corrections_(PriorErrors(view_.machine)) {}

Result<CostModel> CostModel::Create(const MachineProfile& machine, PowerSource source) {
  LEM_TRY(CheckProfile(machine));
  return CostModel(ViewPower(machine, source));
}

const DeviceState& CostModel::state(int device) const {
  static const DeviceState kFree;
  return state_.devices.empty() ? kFree : state_.devices[static_cast<size_t>(device)];
}

double CostModel::FreeBandwidth(const DeviceProfile& device) const {
  if (machine().dram_gbs <= 0 || device.space != kHostSpace) return device.bandwidth_gbs;
  const double left = kDramShare * machine().dram_gbs - state_.used_gbs;
  // A device that alone reaches more than the share is believed: it was measured.
  if (state_.used_gbs <= 0) return device.bandwidth_gbs;
  return std::clamp(left, kMinBandwidthShare * device.bandwidth_gbs, device.bandwidth_gbs);
}

PartCost CostModel::Roofline(const DeviceProfile& device, const PartWork& work, const StepShape& shape) const {
  PartCost cost;
  const double padded = static_cast<double>(device.PaddedRows(std::max<int64_t>(std::llround(shape.rows), 1)));
  const double bandwidth = FreeBandwidth(device) * 1e6;  // bytes a millisecond
  double bytes = work.weight_bytes;
  double flops = work.flops_per_row * padded;
  if (flops > 0) {
    const double dense = flops * (1 - work.expert_flops_share);
    cost.compute_ms = dense / (ProductTflops(device, work, shape, padded) * 1e9);
  }
  cost.memory_ms = bytes / bandwidth;
  if (work.num_experts > 0) {
    // Rows are dealt out: some experts get none, the others few each, and few rows are slower to multiply.
    const double chosen = work.active_experts / work.num_experts;
    const double hit = work.num_experts * (1 - std::pow(1 - chosen, shape.rows));
    const double rows_each = std::max(shape.rows * work.active_experts / hit, 1.0);
    const double padded_each = static_cast<double>(device.PaddedRows(std::llround(std::ceil(rows_each))));
    const double expert_flops = work.flops_per_row * work.expert_flops_share / work.active_experts * padded_each * hit;
    cost.compute_ms += expert_flops / (device.GemmTflops(work.weights, padded_each) * device.expert_gemm_share * 1e9);
    cost.memory_ms += hit * work.expert_bytes / (bandwidth * device.expert_bandwidth_share);
    bytes += hit * work.expert_bytes;
    flops = flops * (1 - work.expert_flops_share) + expert_flops;
  }
  if (work.flops_per_pair > 0) {
    const AttentionReach reach = Reach(work, shape);
    const double pair_flops = work.flops_per_pair * reach.per_row * padded;
    const double kv_bytes = work.kv_elements_per_token * device.kv_bits / 8 * reach.read;
    const bool single_rows = shape.rows <= shape.sequences;
    const std::vector<RatePoint>& measured = device.attention[static_cast<size_t>(shape.phase)];
    double rate = device.GemmTflops(work.weights, padded);
    if (single_rows && device.attention_tflops > 0) rate = device.attention_tflops;
    if (!measured.empty()) rate = RateAt(measured, padded);
    const bool limited = !single_rows || device.attention_tflops > 0 || !measured.empty();
    cost.attention_ms = std::max(limited ? pair_flops / (rate * 1e9) : 0, kv_bytes / bandwidth);
    bytes += kv_bytes;
    flops += pair_flops;
  }
  if (work.part == Part::kAttention || work.part == Part::kFeedForward) {
    const double layer_us = device.layer_us + (shape.rows > shape.sequences ? device.many_rows_layer_us : 0);
    cost.fixed_ms = layer_us / 2 * 1e-3;  // attention and feed-forward share a layer
    if (work.num_experts > 0) cost.fixed_ms += device.expert_dispatch_us * 1e-3;
  }
  cost.macs = flops / 2;
  cost.bytes = bytes;
  return cost;
}

double CostModel::Hope(const Correction& correction) const {
  return std::exp(correction.log_factor - optimism_ * correction.log_error);
}

PartCost CostModel::Predict(int device, const ModelWork& model, const PartWork& work, const StepShape& shape) const {
  PartCost cost = Roofline(this->device(device), work, shape);
  const Correction correction = corrections_.Lookup({device, KindOf(work.part), shape.phase, RowBucketOf(shape.rows)});
  const ResidualModel& residual = residuals_[static_cast<size_t>(device)];
  cost.factor = Hope(correction) * state(device).slowdown;
  if (!residual.empty()) cost.factor *= std::exp(residual.Predict(Features(device, model, work, shape)));
  cost.log_error = correction.log_error;
  return cost;
}

double CostModel::LaunchMs(int device, Phase phase) const {
  const Correction correction = corrections_.Lookup({device, CostKind::kSwitch, phase, 0});
  return this->device(device).launch_us * 1e-3 * Hope(correction);
}

double CostModel::HandOverMs(int from, int to, Phase phase, double bytes) const {
  const Correction correction = corrections_.Lookup({from, CostKind::kSwitch, phase, 0});
  return this->device(from).sync_us * 1e-3 * Hope(correction) +
         machine().CopyMs(this->device(from).space, this->device(to).space, bytes);
}

double CostModel::FinishMs(int device, Phase phase, double bytes) const {
  const Correction correction = corrections_.Lookup({device, CostKind::kSwitch, phase, 0});
  return this->device(device).sync_us * 1e-3 * Hope(correction) +
         machine().CopyMs(this->device(device).space, kHostSpace, bytes);
}

double CostModel::JointFactor(int rest, int rows_device, Phase phase) const {
  const double learned = Hope(corrections_.Lookup({rows_device, CostKind::kJoint, phase, 0}));
  const double both_w = device_power(rest).busy_w + device_power(rows_device).busy_w;
  const double budget_w = machine().power_budget_w;
  // Power grows at least with the square of the clock, so clocks fall with the root of what is missing.
  const double throttled = budget_w > 0 ? std::sqrt(std::max(both_w / budget_w, 1.0)) : 1;
  return machine().corun_slowdown * throttled * learned;
}

double CostModel::SharedBandwidth(int device, int other) const {
  const DeviceProfile& a = this->device(device);
  const DeviceProfile& b = this->device(other);
  if (machine().dram_gbs <= 0 || a.space != b.space) return 1;
  const double both = FreeBandwidth(a) + FreeBandwidth(b);
  const double free = std::max(kDramShare * machine().dram_gbs - state_.used_gbs, kMinBandwidthShare * both);
  return std::min(1.0, free / both);
}

double CostModel::CompileMs(int device, double rows) const {
  const std::optional<std::vector<int64_t>>& compiled = state(device).compiled_rows;
  if (!compiled) return 0;
  const int64_t padded = this->device(device).PaddedRows(std::max<int64_t>(std::llround(rows), 1));
  return std::ranges::find(*compiled, padded) != compiled->end() ? 0 : this->device(device).compile_ms;
}

double CostModel::PartJoules(int device, const PartCost& cost) const {
  const DevicePower& power = device_power(device);
  if (power.j_per_mac <= 0) return BusyJoules(device, cost.ms());
  return power.idle_w * cost.ms() * 1e-3 + power.j_per_mac * cost.macs + power.j_per_byte * cost.bytes;
}

double CostModel::IdleWatts() const {
  double watts = machine().base_w;
  for (const DeviceProfile& device : machine().devices) watts += device.power.idle_w;
  return watts;
}

FeatureVector CostModel::Features(int device, const ModelWork& model, const PartWork& work,
                                  const StepShape& shape) const {
  const DeviceProfile& profile = this->device(device);
  const PartCost cost = Roofline(profile, work, shape);
  const double padded = static_cast<double>(profile.PaddedRows(std::max<int64_t>(std::llround(shape.rows), 1)));
  const double parameters = work.flops_per_row / 2;
  FeatureVector features{};
  const auto set = [&features](Feature feature, double value) {
    features[static_cast<size_t>(feature)] = static_cast<float>(value);
  };
  set(Feature::kPart, static_cast<double>(work.part));
  set(Feature::kDecode, shape.phase == Phase::kDecode ? 1 : 0);
  set(Feature::kLogRows, Log2(shape.rows));
  set(Feature::kLogPadding, Log2(padded / shape.rows));
  set(Feature::kLogSequences, Log2(shape.sequences));
  set(Feature::kLogContext, Log2(shape.context));
  set(Feature::kLogFlops, Log2(2 * cost.macs));
  set(Feature::kLogBytes, Log2(cost.bytes));
  set(Feature::kLogIntensity, Log2(2 * cost.macs / std::max(cost.bytes, 1.0)));
  set(Feature::kLogHidden, Log2(model.hidden_size));
  const double kv_bytes = model.kv_elements_per_token() * profile.kv_bits / 8 * shape.context * shape.sequences;
  set(Feature::kLogStepBytes, Log2(model.step_bytes + kv_bytes));
  const double kv_elements = work.kv_elements_per_token;
  set(Feature::kLogGroup, kv_elements > 0 ? Log2(work.flops_per_pair / kv_elements) : 0);
  set(Feature::kLogAttention, std::log2(1 + cost.attention_ms / std::max(cost.products_ms(), 1e-9)));
  set(Feature::kWeightBits, parameters > 0 ? work.weight_bytes * 8 / parameters : 0);
  set(Feature::kExperts, work.num_experts > 0 ? 1 : 0);
  double busy = 0;
  for (const DeviceState& other : state_.devices) busy += other.queue_ms > 0 ? 1 : 0;
  set(Feature::kLogBusyDevices, Log2(1 + busy));
  return features;
}

void CostModel::Observe(int device, const ModelWork& model, std::span<const int32_t> parts, const StepShape& shape,
                        double output_rows, double measured_ms) {
  double predicted_ms = 0;
  std::array<std::optional<CorrectionKey>, 4> seen;
  for (const auto& [idx, count] : CountParts(model, parts)) {
    const PartWork& work = model.classes[static_cast<size_t>(idx)];
    const StepShape own = ShapeOfPart(work, shape, output_rows);
    if (own.rows <= 0) continue;
    const CorrectionKey key{device, KindOf(work.part), own.phase, RowBucketOf(own.rows)};
    const double learned = Hope(corrections_.Lookup(key)) * state(device).slowdown;
    predicted_ms += count * Predict(device, model, work, own).ms() / learned;
    seen[static_cast<size_t>(work.part)] = key;
  }
  if (!(predicted_ms > 0) || !(measured_ms > 0)) return;
  const double log_ratio = std::log(measured_ms / (predicted_ms * state(device).slowdown));
  for (const std::optional<CorrectionKey>& key : seen) {
    if (key) corrections_.Observe(*key, log_ratio);
  }
}

void CostModel::ObserveRatio(int device, CostKind kind, Phase phase, double ratio) {
  if (!(ratio > 0)) return;
  const double now = corrections_.Lookup({device, kind, phase, 0}).log_factor;
  corrections_.Observe({device, kind, phase, 0}, std::log(ratio) + now);
}

double PredictPartsMs(const CostModel& costs, int device, const ModelWork& model, std::span<const int32_t> parts,
                      const StepShape& shape, double output_rows) {
  double ms = 0;
  for (const auto& [idx, count] : CountParts(model, parts)) {
    const PartWork& work = model.classes[static_cast<size_t>(idx)];
    const StepShape own = ShapeOfPart(work, shape, output_rows);
    if (own.rows > 0) ms += count * costs.Predict(device, model, work, own).ms();
  }
  return ms;
}

}  // namespace lem
