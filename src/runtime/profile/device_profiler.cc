#include "runtime/profile/device_profiler.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "base/integer_math.h"
#include "base/statistics.h"
#include "executor/placed_model.h"
#include "kernels/kernels.h"
#include "memory/kv_block_pool.h"

namespace lem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMaxRows = 256;
constexpr int64_t kMaxSequences = 16;
constexpr int64_t kContexts[] = {0, 512, 2048};
constexpr int64_t kPromptRows[] = {16, 32, 64, 96, 128, 192, 256};
constexpr int64_t kAnswerRows[] = {1, 2, 4, 8, 16};
constexpr double kMaxStepSeconds = 1.0;  // of one part: longer ones tell nothing that shorter ones do not

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// What is measured of one model.
struct Design {
  ProbeShape shape;
  bool all_shapes = false;  // contexts and every row count; else what a weight type needs
};

std::vector<Design> Designs() {
  const ProbeShape small{DType::kQ4_1, 8, 576, 1536, 9, 3, 64, 16384};
  const ProbeShape medium{DType::kQ4_K, 6, 1024, 2816, 16, 4, 64, 32768};
  const ProbeShape large{DType::kQ4_K, 3, 2048, 5632, 32, 8, 64, 8192};
  std::vector<Design> designs{{small, true}, {medium, true}, {large, true}};
  for (const DType dtype :
       {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_K, DType::kQ6_K, DType::kQ8_0, DType::kF16}) {
    ProbeShape shape = medium;
    shape.weights = dtype;
    shape.num_layers = 3;
    if (dtype == DType::kQ8_0) shape.vocab_size = 131072;  // a head that no cache holds
    designs.push_back({shape, false});
  }
  return designs;
}

// A segment of one part of one layer, compiled for buckets of rows.
struct PartSegment {
  Part part = Part::kEmbedding;
  Segment segment;
  std::vector<ValueBinding> values;
  std::map<std::pair<int64_t, Phase>, std::unique_ptr<Executable>> executables;
};

// One model on one device, ready to be measured.
class Bench {
 public:
  Bench(Device& device, MemoryManager& memory) : device_(device), memory_(memory) {}

  Status Place(const ProbeModel& model, const DeviceRegistry& devices) {
    Placement placement;
    placement.clauses = {{.device_id = device_.caps().id}};
    LEM_ASSIGN_OR_RETURN(placed_, PlacedModel::Create(model.bound(), placement, devices, memory_));
    LEM_TRY(MakeSegments());
    const size_t block_bytes = MakeKvBlockLayout(placed_->graph().kv).block_bytes;
    const int64_t sequence_blocks = DivideUp(kContexts[std::size(kContexts) - 1] + kMaxRows, kKvBlockTokens);
    LEM_ASSIGN_OR_RETURN(kv_, KvBlockPool::Create(memory_, block_bytes, sequence_blocks * kMaxSequences));
    if (device_.memory() != nullptr) LEM_TRY(kv_->MapTo(*device_.memory()));
    for (int64_t s = 0; s < kMaxSequences; ++s) {
      blocks_.emplace_back();
      for (int64_t i = 0; i < sequence_blocks; ++i) blocks_.back().push_back(*kv_->Allocate());
    }
    return OkStatus();
  }

  // Submits the first feed-forward part, of so many rows.
  Result<DeviceEvent> SubmitOne(const StepShape& shape) {
    const auto part = std::ranges::find(segments_, Part::kFeedForward, &PartSegment::part);
    joint_step_ = MakeStep(shape, 0);
    const auto rows = static_cast<int64_t>(joint_step_.tokens.size());
    LEM_ASSIGN_OR_RETURN(Executable * executable, ExecutableFor(*part, rows, shape.phase));
    const Bindings bindings{joint_step_.tokens, joint_step_.sequences, joint_step_.output_rows,
                            kv_->base(),        kv_->block_bytes(),    part->values};
    return device_.Submit(*executable, bindings, {});
  }

  struct Timing {
    double ms = 0, virtual_ms = 0;
  };
  // Median time of a part over its layers and repeats. Parts come round as in a model, so that what a layer left in the
  // caches is gone when its turn comes again.
  Result<std::map<Part, Timing>> Measure(const StepShape& shape, int64_t first_position, double budget_s) {
    std::map<Part, std::vector<double>> times, virtual_times;
    const Step step = MakeStep(shape, first_position);
    LEM_TRY(RunAll(step, shape.phase, nullptr, nullptr));  // compiles, and warms up
    const Clock::time_point begin = Clock::now();
    for (int repeat = 0; repeat < 7 && (repeat < 2 || SecondsSince(begin) < budget_s); ++repeat) {
      LEM_TRY(RunAll(step, shape.phase, &times, &virtual_times));
    }
    std::map<Part, Timing> medians;
    for (auto& [part, values] : times) medians[part] = {Median(values), Median(virtual_times[part])};
    return medians;
  }

 private:
  struct Step {
    std::vector<int32_t> tokens, output_rows;
    std::vector<SequenceRows> sequences;
  };

  Status MakeSegments() {
    const Graph& graph = placed_->graph();
    std::map<ValueId, float*> data;
    for (int32_t begin = 0; begin < static_cast<int32_t>(graph.ops.size());) {
      const Op& first = graph.ops[static_cast<size_t>(begin)];
      int32_t end = begin;
      while (end < static_cast<int32_t>(graph.ops.size()) && graph.ops[static_cast<size_t>(end)].part == first.part &&
             graph.ops[static_cast<size_t>(end)].layer == first.layer) {
        ++end;
      }
      PartSegment part{.part = first.part, .segment = {begin, end}, .values = {}, .executables = {}};
      const SegmentBoundary boundary = FindBoundary(graph, part.segment);
      for (const std::vector<ValueId>* values : {&boundary.inputs, &boundary.outputs}) {
        for (const ValueId value : *values) {
          if (!data.contains(value)) {
            LEM_ASSIGN_OR_RETURN(data[value], AllocateValue(graph, value));
          }
          part.values.push_back({value, data[value]});
        }
      }
      segments_.push_back(std::move(part));
      begin = end;
    }
    return OkStatus();
  }

  Result<float*> AllocateValue(const Graph& graph, ValueId id) {
    const Value& value = graph.values[static_cast<size_t>(id)];
    const int64_t rows = value.rows == Rows::kTokens ? kMaxRows : kMaxSequences;
    const auto count = static_cast<size_t>(rows * value.cols);
    LEM_ASSIGN_OR_RETURN(Allocation memory, memory_.Allocate(MemoryUse::kActivations, count * sizeof(float)));
    auto* data = reinterpret_cast<float*>(memory.data());
    for (size_t i = 0; i < count; ++i) data[i] = static_cast<float>(i % 17) * 0.1f - 0.8f;
    if (device_.memory() != nullptr) {
      LEM_TRY(memory.MapTo(*device_.memory(), memory.bytes()));
      if (!device_.memory()->shares_host_memory()) {
        LEM_TRY(device_.memory()->CopyIn(memory.data(), count * sizeof(float), TransferCause::kActivations));
      }
    }
    allocations_.push_back(std::move(memory));
    return data;
  }

  Step MakeStep(const StepShape& shape, int64_t first_position) const {
    Step step;
    const auto rows = static_cast<int64_t>(shape.rows), sequences = static_cast<int64_t>(shape.sequences);
    const int64_t vocab = placed_->graph().vocab_size;
    for (int64_t i = 0; i < rows; ++i) step.tokens.push_back(static_cast<int32_t>(i * 7919 % vocab));
    for (int64_t s = 0; s < sequences; ++s) {
      step.sequences.push_back(
          {s * rows / sequences, rows / sequences, first_position, blocks_[static_cast<size_t>(s)]});
      step.output_rows.push_back(static_cast<int32_t>((s + 1) * rows / sequences - 1));
    }
    return step;
  }

  Status RunAll(const Step& step, Phase phase, std::map<Part, std::vector<double>>* times,
                std::map<Part, std::vector<double>>* virtual_times) {
    const auto rows = static_cast<int64_t>(step.tokens.size());
    for (PartSegment& part : segments_) {
      LEM_ASSIGN_OR_RETURN(Executable * executable, ExecutableFor(part, rows, phase));
      const Bindings bindings{step.tokens, step.sequences,     step.output_rows,
                              kv_->base(), kv_->block_bytes(), part.values};
      const double busy_before = times == nullptr ? 0 : device_.telemetry().busy_seconds;
      const Clock::time_point begin = Clock::now();
      LEM_TRY(device_.Submit(*executable, bindings, {}).Wait());
      if (times == nullptr) continue;
      (*times)[part.part].push_back(SecondsSince(begin) * 1e3);
      const double busy = device_.telemetry().busy_seconds - busy_before;
      (*virtual_times)[part.part].push_back(device_.caps().emulated ? busy * 1e3 : 0);
    }
    return OkStatus();
  }

  Result<Executable*> ExecutableFor(PartSegment& part, int64_t rows, Phase phase) {
    const std::vector<int64_t>& buckets = device_.caps().token_buckets;
    const auto bucket = std::ranges::lower_bound(buckets, rows);
    const int64_t tokens = bucket == buckets.end() ? kMaxRows : std::min(*bucket, kMaxRows);
    std::unique_ptr<Executable>& executable = part.executables[{tokens, phase}];
    if (executable == nullptr) {
      const ShapeBucket shape{tokens, std::min(tokens, kMaxSequences), phase};
      LEM_ASSIGN_OR_RETURN(executable, device_.Compile(placed_->bound(), part.segment, shape));
    }
    return executable.get();
  }

  Device& device_;
  MemoryManager& memory_;
  std::unique_ptr<PlacedModel> placed_;
  std::unique_ptr<KvBlockPool> kv_;
  std::vector<std::vector<BlockId>> blocks_;  // of each sequence
  std::vector<Allocation> allocations_;
  Step joint_step_;                    // that SubmitOne has begun
  std::vector<PartSegment> segments_;  // after what they use: executables go first
};

struct MeasuredStep {
  StepShape shape;
  int64_t first_position = 0;  // of each sequence
};

std::vector<MeasuredStep> StepsOf(const Design& design) {
  std::vector<MeasuredStep> steps;
  const auto add = [&](Phase phase, int64_t rows, int64_t first_position) {
    const double sequences = phase == Phase::kDecode ? static_cast<double>(rows) : 1.0;
    const double mean_context = static_cast<double>(first_position) + static_cast<double>(rows) / sequences / 2;
    steps.push_back({{phase, static_cast<double>(rows), sequences, mean_context}, first_position});
  };
  if (!design.all_shapes) {
    add(Phase::kDecode, 1, 0);
    add(Phase::kDecode, 8, 0);
    for (const int64_t rows : {int64_t{16}, int64_t{128}}) add(Phase::kPrefill, rows, 0);
    return steps;
  }
  // What matters most first: slow devices do not come to the end.
  for (const int64_t context : kContexts) {
    add(Phase::kDecode, 1, context);
    add(Phase::kPrefill, kPromptRows[0], context);
  }
  for (const int64_t rows : kPromptRows) {
    if (rows != kPromptRows[0]) add(Phase::kPrefill, rows, 0);
  }
  for (const int64_t rows : kAnswerRows) {
    if (rows > 1) add(Phase::kDecode, rows, 0);
  }
  for (const int64_t context : {kContexts[1], kContexts[2]}) {
    for (const int64_t rows : {kAnswerRows[2], kAnswerRows[4]}) add(Phase::kDecode, rows, context);
    add(Phase::kPrefill, kPromptRows[1], context);
    add(Phase::kPrefill, kPromptRows[4], context);
  }
  return steps;
}

}  // namespace

Result<DeviceMeasurements> MeasureDevice(Device& device, const DeviceRegistry& devices, MemoryManager& memory,
                                         ThreadPool& pool, double reference_ms, const ProfilerOptions& options) {
  DeviceMeasurements out{.device_id = device.caps().id};
  std::vector<Design> designs = Designs();
  designs.resize(std::min(designs.size(), options.max_models), Design{});
  const Clock::time_point begin = Clock::now();
  for (size_t d = 0; d < designs.size(); ++d) {
    const Design& design = designs[d];
    // What is left is shared by the models that are still to come.
    const double left_s = options.seconds_per_device - SecondsSince(begin);
    const double model_s = left_s / static_cast<double>(designs.size() - d);
    const Clock::time_point model_begin = Clock::now();
    const ProbeModel model = MakeProbeModel(design.shape);
    Bench bench(device, memory);
    LEM_TRY(bench.Place(model, devices));
    double last_rate_s = 0;  // seconds a row, of the step before
    for (const auto& [shape, first_position] : StepsOf(design)) {
      const double spent_s = SecondsSince(model_begin);
      // The first is always measured: every device gets a profile.
      if (last_rate_s > 0 && (spent_s > model_s || last_rate_s * shape.rows > kMaxStepSeconds)) continue;
      if (options.on_progress) {
        options.on_progress(
            fmt::format("{}, {} of width {}, {} rows behind {} tokens", device.caps().id,
                        GetDTypeInfo(design.shape.weights).name, design.shape.hidden_size, shape.rows, first_position),
            (static_cast<double>(d) + std::clamp(spent_s / model_s, 0.0, 1.0)) / static_cast<double>(designs.size()));
      }
      const double reference_before = ReferenceMs(pool);
      LEM_ASSIGN_OR_RETURN(const auto timings, bench.Measure(shape, first_position, model_s / 30));
      const double speed = 2 * reference_ms / (reference_before + ReferenceMs(pool));
      double step_ms = 0;
      for (const auto& [part, timing] : timings) {
        const double ms = timing.ms * speed;
        out.parts.push_back({design.shape, part, shape, ms, timing.virtual_ms});
        step_ms = std::max(step_ms, timing.ms);
        if (part != Part::kEmbedding || shape.rows > 1) continue;
        if (out.launch_ms == 0 || ms < out.launch_ms) {
          out.launch_ms = ms;
          out.virtual_launch_ms = timing.virtual_ms;
        }
      }
      last_rate_s = step_ms * 1e-3 / shape.rows;
    }
  }
  return out;
}

Result<double> MeasureJoint(Device& device, Device& cpu, const DeviceRegistry& devices, MemoryManager& memory) {
  const ProbeModel model = MakeProbeModel({.num_layers = 1, .vocab_size = 256});
  Bench first(device, memory), second(cpu, memory);
  LEM_TRY(first.Place(model, devices));
  LEM_TRY(second.Place(model, devices));
  const StepShape shape{Phase::kPrefill, 16, 1, 8};
  std::vector<double> ratios;
  const auto time = [&](bool on_first, bool on_second) -> Result<double> {
    const Clock::time_point begin = Clock::now();
    std::vector<DeviceEvent> events;
    if (on_first) {
      LEM_ASSIGN_OR_RETURN(events.emplace_back(DeviceEvent::Finished(OkStatus())), first.SubmitOne(shape));
    }
    if (on_second) {
      LEM_ASSIGN_OR_RETURN(events.emplace_back(DeviceEvent::Finished(OkStatus())), second.SubmitOne(shape));
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

double ReferenceMs(ThreadPool& pool) {
  constexpr int64_t kTasks = 64, kFloats = 16 << 10;
  const std::vector<float> data(static_cast<size_t>(kFloats), 0.5f);
  std::vector<float> sums(static_cast<size_t>(kTasks));
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) {
    const Clock::time_point begin = Clock::now();
    pool.Run(kTasks, [&](int64_t task, int) {
      float lanes[16] = {};
      for (int64_t pass = 0; pass < 8; ++pass) {
        for (int64_t k = 0; k < kFloats; ++k)
          lanes[k % 16] += data[static_cast<size_t>(k)] * data[static_cast<size_t>(k)];
      }
      float sum = 0;
      for (const float lane : lanes) sum += lane;
      sums[static_cast<size_t>(task)] = sum;
    });
    times.push_back(SecondsSince(begin) * 1e3);
  }
  return Median(std::move(times));
}

}  // namespace lem
