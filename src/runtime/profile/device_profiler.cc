#include "runtime/profile/device_profiler.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "base/statistics.h"

namespace lem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kMaxStepSeconds = 1.5;  // longer ones tell nothing that shorter ones do not
// Devices that multiply less than this with one row are not bound by memory: it makes no difference where weights are.
constexpr double kColdGflops = 10;
// Of a design's time, what repeats of its steps may take together; the rest is for making it and for warming up.
constexpr double kRepeatShare = 0.6;

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Whether a device is so fast that models have to be as large as real ones.
Result<bool> NeedsColdModels(Device& device, const DeviceRegistry& devices, MemoryManager& memory, SpeedMeter& speed) {
  const ProbeShape shape = ProbeDesigns(false).front().model;
  const ProbeModel model = MakeProbeModel(shape);
  ProbeBench bench(device, memory);
  LEM_TRY(bench.Place(model, devices));
  LEM_ASSIGN_OR_RETURN(const ProbeBench::Times times, bench.Measure({{Phase::kDecode, 1, 1, 0.5}, 0}, 0, speed));
  const double flops = 2.0 * 3 * static_cast<double>(shape.hidden_size * shape.intermediate_size);
  return flops / times.wall.part_ms[static_cast<size_t>(Part::kFeedForward)] * 1e-6 > kColdGflops;
}

void NoteLaunch(const ProbeBench::Times& times, DeviceMeasurements& out) {
  const auto embedding = static_cast<size_t>(Part::kEmbedding);
  const double ms = times.wall.part_ms[embedding];
  if (out.launch_ms != 0 && ms >= out.launch_ms) return;
  out.launch_ms = ms;
  out.virtual_launch_ms = times.device_clock.part_ms[embedding];
}

Result<double> JointSlowdown(ProbeBench& first, ProbeBench& second) {
  const ProbeStep step{{Phase::kPrefill, 16, 1, 8}, 0};
  std::vector<double> ratios;
  const auto time = [&](bool on_first, bool on_second) -> Result<double> {
    const Clock::time_point begin = Clock::now();
    std::vector<DeviceEvent> events;
    if (on_first) {
      LEM_ASSIGN_OR_RETURN(events.emplace_back(DeviceEvent::Finished(OkStatus())), first.SubmitOne(step));
    }
    if (on_second) {
      LEM_ASSIGN_OR_RETURN(events.emplace_back(DeviceEvent::Finished(OkStatus())), second.SubmitOne(step));
    }
    for (const DeviceEvent& event : events) LEM_TRY(event.Wait());
    return SecondsSince(begin);
  };
  LEM_TRY(time(true, true).status());
  for (int i = 0; i < 7; ++i) {
    LEM_ASSIGN_OR_RETURN(const double alone_first, time(true, false));
    LEM_ASSIGN_OR_RETURN(const double alone_second, time(false, true));
    LEM_ASSIGN_OR_RETURN(const double together, time(true, true));
    // As if both had the same work: what the shorter one adds, as a share of itself.
    const double longer = std::max(alone_first, alone_second), shorter = std::min(alone_first, alone_second);
    ratios.push_back(std::clamp(1 + (together - longer) / shorter, 1.0, 2.0));
  }
  return Median(std::move(ratios));
}

// Reads of a part's weights in a second, while both do nothing else.
Result<double> JointReads(ProbeBench& first, ProbeBench& second) {
  constexpr double kSeconds = 0.3;
  const ProbeStep step{{Phase::kDecode, 1, 1, 0.5}, 0};
  int64_t num_reads = 0;
  const Clock::time_point begin = Clock::now();
  while (SecondsSince(begin) < kSeconds) {
    LEM_ASSIGN_OR_RETURN(const DeviceEvent event, first.SubmitOne(step));
    LEM_ASSIGN_OR_RETURN(const DeviceEvent other, second.SubmitOne(step));
    LEM_TRY(other.Wait());
    LEM_TRY(event.Wait());
    num_reads += 2;
  }
  return static_cast<double>(num_reads) / SecondsSince(begin);
}

// Copies of two sizes: the small one is all latency. Medians.
Status MeasureCopies(DeviceMemory& device, MemoryManager& memory, DeviceMeasurements& out) {
  constexpr size_t kSmall = 4096, kLarge = 16 << 20;
  LEM_ASSIGN_OR_RETURN(Allocation bytes, memory.Allocate(MemoryUse::kActivations, kLarge));
  LEM_TRY(bytes.MapTo(device, bytes.bytes()));
  const auto seconds = [&](size_t size, bool in) -> Result<double> {
    std::vector<double> times;
    for (int i = 0; i < 6; ++i) {  // the first finds nothing in place
      const Clock::time_point begin = Clock::now();
      LEM_TRY(in ? device.CopyIn(bytes.data(), size, TransferCause::kActivations)
                 : device.CopyOut(bytes.data(), size, TransferCause::kActivations));
      if (i > 0) times.push_back(SecondsSince(begin));
    }
    return Median(std::move(times));
  };
  for (const bool in : {true, false}) {
    LEM_ASSIGN_OR_RETURN(const double small_s, seconds(kSmall, in));
    LEM_ASSIGN_OR_RETURN(const double large_s, seconds(kLarge, in));
    const double moving_s = std::max(large_s - small_s, 1e-9);
    (in ? out.copy_in : out.copy_out) = {static_cast<double>(kLarge - kSmall) / moving_s * 1e-9, small_s * 1e6};
  }
  out.has_own_memory = true;
  return OkStatus();
}

}  // namespace

Result<DeviceMeasurements> MeasureDevice(Device& device, const DeviceRegistry& devices, MemoryManager& memory,
                                         ThreadPool& pool, double reference_ms, const ProfilerOptions& options) {
  DeviceMeasurements out{.device_id = device.caps().id};
  SpeedMeter speed(pool, reference_ms);
  if (device.memory() != nullptr && !device.memory()->shares_host_memory()) {
    LEM_TRY(MeasureCopies(*device.memory(), memory, out));
  }
  const Clock::time_point begin = Clock::now();
  LEM_ASSIGN_OR_RETURN(const bool cold, NeedsColdModels(device, devices, memory, speed));
  std::vector<ProbeDesign> designs = ProbeDesigns(cold);
  designs.resize(std::min(designs.size(), options.max_models));
  double shares_left = 0;
  for (const ProbeDesign& design : designs) shares_left += design.share;
  for (const ProbeDesign& design : designs) {
    // What is left is shared by the models that are still to come.
    const double model_s = (options.seconds_per_device - SecondsSince(begin)) * design.share / shares_left;
    shares_left -= design.share;
    const Clock::time_point model_begin = Clock::now();
    const ProbeModel model = MakeProbeModel(design.model);
    ProbeBench bench(device, memory);
    LEM_TRY(bench.Place(model, devices));
    const double step_s = kRepeatShare * model_s / static_cast<double>(design.steps.size());
    std::map<std::pair<Phase, int64_t>, double> row_s;  // behind so many tokens, of the latest step
    for (const ProbeStep& step : design.steps) {
      const double spent_s = SecondsSince(model_begin);
      // The first is always measured: every device gets a profile.
      const auto known = row_s.find({step.shape.phase, step.first_position});
      const double expected_s = known == row_s.end() ? 0 : known->second * step.shape.rows;
      if (!row_s.empty() && (spent_s > model_s || expected_s > kMaxStepSeconds)) continue;
      if (options.on_progress) {
        options.on_progress(fmt::format("{}, {} of width {}, {} rows behind {} tokens", device.caps().id,
                                        GetDTypeInfo(design.model.weights).name, design.model.hidden_size,
                                        step.shape.rows, step.first_position),
                            std::min(SecondsSince(begin) / options.seconds_per_device, 1.0));
      }
      LEM_ASSIGN_OR_RETURN(const ProbeBench::Times times, bench.Measure(step, step_s, speed));
      out.steps.push_back({design.model, step.shape, times.wall, times.device_clock});
      row_s[{step.shape.phase, step.first_position}] = times.wall.step_ms * 1e-3 / step.shape.rows;
      if (step.shape.rows <= 1) NoteLaunch(times, out);
    }
  }
  return out;
}

Result<JointMeasurement> MeasureJoint(Device& device, Device& cpu, const DeviceRegistry& devices,
                                      MemoryManager& memory) {
  const ProbeModel model = MakeProbeModel({.num_layers = 1, .vocab_size = 256});
  ProbeBench first(device, memory), second(cpu, memory);
  LEM_TRY(first.Place(model, devices));
  LEM_TRY(second.Place(model, devices));
  LEM_ASSIGN_OR_RETURN(const double slowdown, JointSlowdown(first, second));
  LEM_ASSIGN_OR_RETURN(const double reads_per_s, JointReads(first, second));
  const double bytes = static_cast<double>(*RowBytes(ProbeShape{}.weights, ProbeShape{}.hidden_size)) * 3.0 *
                       static_cast<double>(ProbeShape{}.intermediate_size);
  return JointMeasurement{slowdown, bytes * reads_per_s * 1e-9};
}

}  // namespace lem
