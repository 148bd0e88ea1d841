#include "device/npu/npu_device.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>

#include "base/log.h"
#include "device/npu/npu_executable.h"

namespace lem {
namespace {

class NpuEmulatedDeviceImpl : public NpuEmulatedDevice {
 public:
  NpuEmulatedDeviceImpl(const NpuDeviceOptions& options, const NpuGeneration& generation, ThreadPool& pool,
                        const KernelTable& kernels, MemoryManager& memory)
      : options_(options),
        generation_(generation),
        pool_(pool),
        kernels_(kernels),
        caps_(NpuEmulatedCaps(options, kernels)),
        cache_(options.cache_folder),
        weights_(
            caps_.id,
            [this](const WeightDesc& desc, std::span<const std::byte> bytes, NpuPrecision precision,
                   int64_t scale_group, const KernelTable& own_kernels, MemoryManager& own_memory) {
              return ConvertNpuWeight(desc, bytes, precision, scale_group, own_kernels, own_memory, cache_);
            },
            kernels, memory) {}

  const DeviceCaps& caps() const override { return caps_; }
  const NpuDeviceOptions& options() const override { return options_; }

  // It has no memory of its own and works on every page of the host, as NPUs do that share the process's page tables:
  // nothing has to be mapped. Its converted weights are booked by the weight store.
  DeviceMemory* memory() override { return nullptr; }

  DeviceTelemetry telemetry() const override {
    const std::lock_guard lock(mutex_);
    return {.submissions = submissions_,
            .busy_seconds = stats_.busy_s,
            .energy_joules = stats_.joules,
            .memory_bytes = weights_.bytes_in_use()};
  }

  NpuStats stats() const override {
    const std::lock_guard lock(mutex_);
    NpuStats stats = stats_;
    for (const auto& [key, known] : programs_) {
      if (const auto program = known.lock()) stats.graphs_compiled += program->num_graphs();
    }
    stats.weights_converted = weights_.num_converted();
    return stats;
  }

  Result<std::unique_ptr<Executable>> Compile(const BoundGraph& model, const Segment& segment,
                                              const ShapeBucket& bucket) override {
    LEM_ASSIGN_OR_RETURN(std::shared_ptr<NpuProgram> program, ProgramOf(model, segment));
    // What the hardware cannot hold is known now, not when a request waits.
    const int64_t tokens = NpuTokenBucket(bucket.max_tokens);
    LEM_TRY(program->GraphFor(tokens, std::min(tokens, bucket.max_outputs), 1).status());
    return std::unique_ptr<Executable>(std::make_unique<NpuExecutable>(std::move(program), pool_, kernels_));
  }

  DeviceEvent Submit(Executable& executable, const Bindings& bindings, std::span<const DeviceEvent> waits) override {
    for (const DeviceEvent& wait : waits) {
      if (Status status = wait.Wait(); !status.ok()) return DeviceEvent::Finished(std::move(status));
    }
    auto& own = static_cast<NpuExecutable&>(executable);
    const Result<std::vector<NpuDispatch>> dispatches = own.Run(bindings);
    if (!dispatches.ok()) return DeviceEvent::Finished(dispatches.status());
    Account(*own.program(), *dispatches);
    return DeviceEvent::Finished(OkStatus());
  }

 private:
  using ProgramKey = std::tuple<const Graph*, const WeightTable*, int32_t, int32_t>;

  // The one program of a segment while anybody uses it. A key's addresses stay valid that long.
  Result<std::shared_ptr<NpuProgram>> ProgramOf(const BoundGraph& model, const Segment& segment) {
    const std::lock_guard lock(compile_mutex_);
    const ProgramKey key{model.graph, model.weight_table, segment.op_begin, segment.op_end};
    {
      const std::lock_guard stats_lock(mutex_);
      if (auto program = programs_[key].lock()) return program;
    }
    LEM_ASSIGN_OR_RETURN(std::shared_ptr<NpuProgram> program,
                         NpuProgram::Compile(generation_, model, segment, options_.compile, weights_));
    const std::lock_guard stats_lock(mutex_);
    programs_[key] = program;
    return program;
  }

  // The virtual clock. Each model is a hardware context; a context that had to give up its place is loaded anew.
  void Account(const NpuProgram& program, const std::vector<NpuDispatch>& dispatches) {
    const std::lock_guard lock(mutex_);
    ++submissions_;
    double seconds = 0, joules = 0;
    const Graph* model = program.model().graph;
    const auto known = std::ranges::find(contexts_, model);
    if (known == contexts_.end()) {
      seconds += generation_.reconfiguration_s;
      contexts_.insert(contexts_.begin(), model);
      if (static_cast<int64_t>(contexts_.size()) > generation_.max_contexts) contexts_.pop_back();
    } else if (known != contexts_.begin()) {
      seconds += generation_.context_switch_s;
      std::rotate(contexts_.begin(), known, known + 1);
    }
    for (const NpuDispatch& dispatch : dispatches) {
      seconds += generation_.dispatch_s + dispatch.cost.seconds;
      joules += dispatch.cost.joules;
      if (dispatch.graph != last_graph_) seconds += generation_.descriptor_reprogram_s;
      last_graph_ = dispatch.graph;
      ++stats_.dispatches;
      stats_.rows += static_cast<uint64_t>(dispatch.rows);
      stats_.bucket_rows += static_cast<uint64_t>(dispatch.graph->tokens);
      joules += generation_.idle_w * generation_.dispatch_s;
    }
    stats_.busy_s += seconds;
    stats_.joules += joules;
  }

  const NpuDeviceOptions options_;
  const NpuGeneration& generation_;
  ThreadPool& pool_;
  const KernelTable& kernels_;
  const DeviceCaps caps_;
  NpuWeightCache cache_;
  NpuWeightStore<NpuWeight> weights_;
  std::mutex compile_mutex_;
  mutable std::mutex mutex_;
  std::map<ProgramKey, std::weak_ptr<NpuProgram>> programs_;
  std::vector<const Graph*> contexts_;  // used last first
  const StaticGraph* last_graph_ = nullptr;
  uint64_t submissions_ = 0;
  NpuStats stats_;
};

}  // namespace

NpuDeviceOptions NpuDeviceOptionsFromEnvironment() {
  NpuDeviceOptions options;
  if (const char* generation = std::getenv("LEM_NPU_GENERATION"); generation != nullptr && *generation != '\0') {
    if (FindNpuGeneration(generation).ok()) {
      options.generation = generation;
    } else {
      LogWarning("LEM_NPU_GENERATION is '{}'; allowed: xdna, xdna2; it is ignored", generation);
    }
  }
  options.compile = NpuCompileOptionsFromEnvironment();
  return options;
}

DeviceCaps NpuEmulatedCaps(const NpuDeviceOptions& options, const KernelTable& kernels) {
  DeviceCaps caps;
  caps.id = "npu-emu";
  caps.kind = DeviceKind::kNpu;
  const Result<const NpuGeneration*> generation = FindNpuGeneration(options.generation);
  caps.name = fmt::format("{} (emulated)", generation.ok() ? (*generation)->name : options.generation);
  caps.driver = "emulator; kernels for real NPUs are not built";
  caps.emulated = true;
  caps.compiles_slowly = true;
  // Products are the same everywhere; what surrounds them is of the host's kernels.
  caps.prefill_numerics = caps.decode_numerics =
      fmt::format("npu-{}-g{}@{}", NpuPrecisionModeName(options.compile.mode), options.compile.scale_group,
                  kernels.isa == Isa::kPortable ? "portable" : "f32x16");
  caps.weight_layouts = {Layout::kGgufRows};
  caps.token_buckets = {std::begin(kNpuTokenBuckets), std::end(kNpuTokenBuckets)};
  return caps;
}

Result<std::unique_ptr<NpuEmulatedDevice>> MakeNpuEmulatedDevice(const NpuDeviceOptions& options, ThreadPool& pool,
                                                                 const KernelTable& kernels, MemoryManager& memory) {
  LEM_ASSIGN_OR_RETURN(const NpuGeneration* generation, FindNpuGeneration(options.generation));
  return std::unique_ptr<NpuEmulatedDevice>(
      std::make_unique<NpuEmulatedDeviceImpl>(options, *generation, pool, kernels, memory));
}

}  // namespace lem
