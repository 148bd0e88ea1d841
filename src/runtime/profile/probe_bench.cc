#include "runtime/profile/probe_bench.h"

#include <algorithm>
#include <chrono>

#include "base/integer_math.h"
#include "base/statistics.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxRounds = 9, kMinRounds = 2;
// Times are related to the machine's speed about this often: the reference itself takes time.
constexpr double kSpeedSeconds = 0.025;

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

}  // namespace

void ProbeBench::Samples::Append(const Samples& more, double factor) {
  for (size_t part = 0; part < parts.size(); ++part) {
    for (const double ms : more.parts[part]) parts[part].push_back(ms * factor);
  }
  for (const double ms : more.steps) steps.push_back(ms * factor);
}

StepTimes ProbeBench::Samples::Quartiles() const {
  StepTimes times;
  for (size_t part = 0; part < parts.size(); ++part) times.part_ms[part] = LowerQuartile(parts[part]);
  times.step_ms = LowerQuartile(steps);
  return times;
}

Status ProbeBench::Place(const ProbeModel& model, const DeviceRegistry& devices) {
  Placement placement;
  placement.clauses = {{.device_id = device_.caps().id}};
  LEM_ASSIGN_OR_RETURN(placed_, PlacedModel::Create(model.bound(), placement, devices, memory_));
  LEM_TRY(MakePieces());
  const size_t block_bytes = MakeKvBlockLayout(placed_->graph().kv).block_bytes;
  const int64_t sequence_blocks = DivideUp(kMaxProbeContext + kMaxProbeRows, kKvBlockTokens);
  LEM_ASSIGN_OR_RETURN(kv_, KvBlockPool::Create(memory_, block_bytes, sequence_blocks * kMaxProbeSequences));
  if (device_.memory() != nullptr) LEM_TRY(kv_->MapTo(*device_.memory()));
  for (int64_t s = 0; s < kMaxProbeSequences; ++s) {
    blocks_.emplace_back();
    for (int64_t i = 0; i < sequence_blocks; ++i) blocks_.back().push_back(*kv_->Allocate());
  }
  return OkStatus();
}

Result<DeviceEvent> ProbeBench::SubmitOne(const ProbeStep& step) {
  const auto part = std::ranges::find(parts_, Part::kFeedForward, &std::pair<Part, Piece>::first);
  submitted_ = MakeInputs(step);
  LEM_ASSIGN_OR_RETURN(Executable * executable, ExecutableFor(part->second, submitted_));
  const Bindings bindings{submitted_.tokens, submitted_.sequences, submitted_.output_rows,
                          kv_->base(),       kv_->block_bytes(),   part->second.values};
  return device_.Submit(*executable, bindings, {});
}

Result<ProbeBench::Times> ProbeBench::Measure(const ProbeStep& step, double budget_s, SpeedMeter& speed) {
  const Inputs inputs = MakeInputs(step);
  Samples warm_up, wall, device_clock, batch;
  LEM_TRY(RunRound(inputs, warm_up, warm_up));  // compiles, too
  const Clock::time_point begin = Clock::now();
  Clock::time_point batch_begin = begin;
  speed.Read();
  for (int round = 0; round < kMaxRounds && (round < kMinRounds || SecondsSince(begin) < budget_s); ++round) {
    LEM_TRY(RunRound(inputs, batch, device_clock));
    if (SecondsSince(batch_begin) < kSpeedSeconds && round + 1 < kMaxRounds) continue;
    wall.Append(batch, speed.Read());
    batch = {};
    batch_begin = Clock::now();
  }
  if (!batch.steps.empty()) wall.Append(batch, speed.Read());
  return Times{wall.Quartiles(), device_clock.Quartiles()};
}

Status ProbeBench::MakePieces() {
  const Graph& graph = placed_->graph();
  const auto num_ops = static_cast<int32_t>(graph.ops.size());
  for (int32_t begin = 0; begin < num_ops;) {
    const Op& first = graph.ops[static_cast<size_t>(begin)];
    const auto same = [&](int32_t op) {
      const Op& other = graph.ops[static_cast<size_t>(op)];
      return other.part == first.part && other.layer == first.layer;
    };
    int32_t end = begin;
    while (end < num_ops && same(end)) ++end;
    LEM_ASSIGN_OR_RETURN(Piece piece, MakePiece({begin, end}));
    parts_.emplace_back(first.part, std::move(piece));
    begin = end;
  }
  LEM_ASSIGN_OR_RETURN(whole_, MakePiece({0, num_ops}));
  return OkStatus();
}

Result<ProbeBench::Piece> ProbeBench::MakePiece(Segment segment) {
  Piece piece{.segment = segment, .values = {}, .executables = {}};
  const SegmentBoundary boundary = FindBoundary(placed_->graph(), segment);
  for (const std::vector<ValueId>* values : {&boundary.inputs, &boundary.outputs}) {
    for (const ValueId value : *values) {
      if (!value_data_.contains(value)) {
        LEM_ASSIGN_OR_RETURN(value_data_[value], AllocateValue(value));
      }
      piece.values.push_back({value, value_data_[value]});
    }
  }
  return piece;
}

Result<float*> ProbeBench::AllocateValue(ValueId id) {
  const Value& value = placed_->graph().values[static_cast<size_t>(id)];
  const int64_t rows = value.rows == Rows::kTokens ? kMaxProbeRows : kMaxProbeSequences;
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

ProbeBench::Inputs ProbeBench::MakeInputs(const ProbeStep& step) const {
  Inputs inputs{.tokens = {}, .output_rows = {}, .sequences = {}, .phase = step.shape.phase};
  const auto rows = static_cast<int64_t>(step.shape.rows), sequences = static_cast<int64_t>(step.shape.sequences);
  const int64_t vocab = placed_->graph().vocab_size;
  for (int64_t i = 0; i < rows; ++i) inputs.tokens.push_back(static_cast<int32_t>(i * 7919 % vocab));
  for (int64_t s = 0; s < sequences; ++s) {
    inputs.sequences.push_back(
        {s * rows / sequences, rows / sequences, step.first_position, blocks_[static_cast<size_t>(s)]});
    inputs.output_rows.push_back(static_cast<int32_t>((s + 1) * rows / sequences - 1));
  }
  return inputs;
}

Status ProbeBench::Run(Piece& piece, const Inputs& inputs, std::vector<double>& wall,
                       std::vector<double>& device_clock) {
  LEM_ASSIGN_OR_RETURN(Executable * executable, ExecutableFor(piece, inputs));
  const Bindings bindings{inputs.tokens, inputs.sequences,   inputs.output_rows,
                          kv_->base(),   kv_->block_bytes(), piece.values};
  const bool emulated = device_.caps().emulated;
  const double busy_before = emulated ? device_.telemetry().busy_seconds : 0;
  const Clock::time_point begin = Clock::now();
  LEM_TRY(device_.Submit(*executable, bindings, {}).Wait());
  wall.push_back(SecondsSince(begin) * 1e3);
  device_clock.push_back(emulated ? (device_.telemetry().busy_seconds - busy_before) * 1e3 : 0);
  return OkStatus();
}

Status ProbeBench::RunRound(const Inputs& inputs, Samples& wall, Samples& device_clock) {
  for (auto& [part, piece] : parts_) {
    const auto idx = static_cast<size_t>(part);
    LEM_TRY(Run(piece, inputs, wall.parts[idx], device_clock.parts[idx]));
  }
  return Run(whole_, inputs, wall.steps, device_clock.steps);
}

Result<Executable*> ProbeBench::ExecutableFor(Piece& piece, const Inputs& inputs) {
  const std::vector<int64_t>& buckets = device_.caps().token_buckets;
  const auto bucket = std::ranges::lower_bound(buckets, static_cast<int64_t>(inputs.tokens.size()));
  const int64_t tokens = bucket == buckets.end() ? kMaxProbeRows : std::min(*bucket, kMaxProbeRows);
  std::unique_ptr<Executable>& executable = piece.executables[{tokens, inputs.phase}];
  if (executable == nullptr) {
    const ShapeBucket shape{tokens, std::min(tokens, kMaxProbeSequences), inputs.phase};
    LEM_ASSIGN_OR_RETURN(executable, device_.Compile(placed_->bound(), piece.segment, shape));
  }
  return executable.get();
}

}  // namespace lem
