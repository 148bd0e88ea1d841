#include "device/npu/openvino/openvino_device.h"

#include <charconv>
#include <cstdlib>
#include <map>
#include <mutex>
#include <system_error>

#include "base/log.h"
#include "device/npu/openvino/openvino_executable.h"

namespace lem {
namespace {

constexpr std::string_view kId = "npu-openvino";
// On two processors a graph of SmolLM2 takes about 15, 27 and 60 ms for 1, 8 and 32 rows, and 128 rows take no less a
// row than 32 (measured with OpenVINO 2026.4); with 205 MB for each more, these three do. An NPU's dispatch wants
// longer chunks; that is what published stacks use, and not measured.
constexpr int64_t kRowBucketsOfCpu[] = {1, 8, 32}, kRowBucketsOfNpu[] = {1, 8, 128};

std::string TextOf(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr ? text : "";
}

openvino::OpenOptions AbiOptions(const OpenVinoOptions& options, const std::string& cache_folder, int num_threads) {
  return {options.device.c_str(), cache_folder.c_str(), num_threads};
}

DeviceCaps CapsOf(const OpenVinoOptions& options, const openvino::DeviceDescription& device) {
  const std::string_view name = device.device, no_npu = device.no_npu;
  const bool is_npu = name == "NPU";
  DeviceCaps caps;
  caps.id = kId;
  caps.kind = DeviceKind::kNpu;
  caps.name = is_npu           ? fmt::format("OpenVINO on NPU: {}", device.full_name)
              : no_npu.empty() ? "OpenVINO on CPU"
                               : "OpenVINO on CPU (no NPU found)";
  caps.driver = fmt::format("OpenVINO {}{}{}", device.runtime, is_npu ? ", " : "", is_npu ? device.properties : "");
  caps.prefill_numerics = caps.decode_numerics =
      fmt::format("openvino-{}-{}-g{}", is_npu ? "npu-f16" : "cpu-f32", NpuPrecisionModeName(options.compile.mode),
                  options.compile.scale_group);
  caps.weight_layouts = {Layout::kGgufRows};
  caps.compiles_slowly = true;
  caps.bits_depend_on_step = true;  // graphs of different lengths sum in different orders
  return caps;
}

class OpenVinoDeviceImpl : public OpenVinoDevice {
 public:
  OpenVinoDeviceImpl(std::shared_ptr<OpenVinoContext> context, DeviceCaps caps, ThreadPool& pool,
                     const KernelTable& kernels)
      : context_(std::move(context)), caps_(std::move(caps)), pool_(pool), kernels_(kernels) {}

  const DeviceCaps& caps() const override { return caps_; }
  Status health() const override { return context_->health(); }
  OpenVinoStats stats() const override { return context_->stats(); }

  DeviceTelemetry telemetry() const override {
    const OpenVinoStats stats = context_->stats();
    return {.submissions = stats.submissions,
            .busy_seconds = stats.busy_s,
            .memory_bytes = stats.weight_bytes + stats.graph_bytes};
  }

  Result<std::unique_ptr<Executable>> Compile(const BoundGraph& model, const Segment& segment,
                                              const ShapeBucket& bucket) override {
    LEM_TRY(context_->health());
    LEM_ASSIGN_OR_RETURN(std::shared_ptr<OpenVinoProgram> program, ProgramOf(model, segment));
    LEM_TRY(program->Prepare(bucket.max_tokens));
    return std::unique_ptr<Executable>(std::make_unique<OpenVinoExecutable>(std::move(program), pool_, kernels_));
  }

  DeviceEvent Submit(Executable& executable, const Bindings& bindings, std::span<const DeviceEvent> waits) override {
    for (const DeviceEvent& wait : waits) {
      if (Status status = wait.Wait(); !status.ok()) return DeviceEvent::Finished(std::move(status));
    }
    if (context_->IsToBeLost()) context_->SetLost(Unavailable("the device is lost (LEM_OPENVINO_LOSE_AFTER)"));
    if (Status status = context_->health(); !status.ok()) return DeviceEvent::Finished(std::move(status));
    context_->CountSubmission();
    return DeviceEvent::Finished(static_cast<OpenVinoExecutable&>(executable).Run(bindings));
  }

 private:
  using ProgramKey = std::tuple<const Graph*, const WeightTable*, int32_t, int32_t>;

  // The one program of a segment while anybody uses it. A key's addresses stay valid that long.
  Result<std::shared_ptr<OpenVinoProgram>> ProgramOf(const BoundGraph& model, const Segment& segment) {
    const std::lock_guard lock(mutex_);
    std::weak_ptr<OpenVinoProgram>& known =
        programs_[{model.graph, model.weight_table, segment.op_begin, segment.op_end}];
    if (auto program = known.lock()) return program;
    LEM_ASSIGN_OR_RETURN(auto program, OpenVinoProgram::Create(context_, model, segment));
    known = program;
    return program;
  }

  const std::shared_ptr<OpenVinoContext> context_;
  const DeviceCaps caps_;
  ThreadPool& pool_;
  const KernelTable& kernels_;
  std::mutex mutex_;
  std::map<ProgramKey, std::weak_ptr<OpenVinoProgram>> programs_;
};

}  // namespace

OpenVinoOptions OpenVinoOptionsFromEnvironment() {
  OpenVinoOptions options;
  options.plugin = TextOf("LEM_OPENVINO_PLUGIN");
  options.device = TextOf("LEM_OPENVINO_DEVICE");
  if (!options.device.empty() && options.device != "NPU" && options.device != "CPU") {
    LogWarning("LEM_OPENVINO_DEVICE is '{}'; allowed: NPU, CPU; it is ignored", options.device);
    options.device.clear();
  }
  options.compile = NpuCompileOptionsFromEnvironment();
  const std::string lose = TextOf("LEM_OPENVINO_LOSE_AFTER");
  std::from_chars(lose.data(), lose.data() + lose.size(), options.lose_after);
  return options;
}

Result<DeviceCaps> OpenVinoCaps(const OpenVinoOptions& options) {
  LEM_ASSIGN_OR_RETURN(const openvino::Runtime* runtime, LoadOpenVinoRuntime(options.plugin));
  openvino::DeviceDescription description{};
  openvino::Error error{};
  const openvino::OpenOptions wanted = AbiOptions(options, "", 0);
  if (runtime->describe(&wanted, &description, &error) != openvino::Code::kOk) return Unavailable("{}", error.text);
  return CapsOf(options, description);
}

Result<std::unique_ptr<OpenVinoDevice>> MakeOpenVinoDevice(const OpenVinoOptions& options, ThreadPool& pool,
                                                           const KernelTable& kernels, MemoryManager& memory) {
  LEM_ASSIGN_OR_RETURN(const openvino::Runtime* runtime, LoadOpenVinoRuntime(options.plugin));
  std::string cache_folder = options.cache_folder.string();
  if (!cache_folder.empty()) {
    std::error_code error;
    std::filesystem::create_directories(options.cache_folder, error);
    if (error) {
      LogWarning("compiled graphs are not kept: {} cannot be made: {}", cache_folder, error.message());
      cache_folder.clear();
    }
  }
  openvino::DeviceDescription description{};
  openvino::Error error{};
  openvino::DeviceHandle* handle = nullptr;
  const openvino::OpenOptions wanted = AbiOptions(options, cache_folder, pool.num_threads());
  if (runtime->open(&wanted, &handle, &description, &error) != openvino::Code::kOk) {
    return Unavailable("npu-openvino: {}", error.text);
  }
  OpenVinoOptions completed = options;
  if (completed.row_buckets.empty()) {
    const bool is_npu = std::string_view(description.device) == "NPU";
    const auto& buckets = is_npu ? kRowBucketsOfNpu : kRowBucketsOfCpu;
    completed.row_buckets.assign(std::begin(buckets), std::end(buckets));
  }
  auto context = std::make_shared<OpenVinoContext>(completed, kId, *runtime, OpenVinoDeviceHandle(handle, {runtime}),
                                                   kernels, memory);
  return std::unique_ptr<OpenVinoDevice>(
      std::make_unique<OpenVinoDeviceImpl>(std::move(context), CapsOf(options, description), pool, kernels));
}

}  // namespace lem
