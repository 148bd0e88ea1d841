#include "device/cpu/cpu_device.h"

#include <atomic>
#include <optional>

#include "base/cpu_info.h"
#include "device/cpu/cpu_executable.h"
#include "device/cpu/lane_weights.h"

namespace lem {
namespace {

class CpuDevice : public Device {
 public:
  CpuDevice(ThreadPool& pool, const KernelTable& kernels, MemoryManager* memory,
            const std::filesystem::path& cache_folder)
      : pool_(pool), kernels_(kernels), caps_(CpuDeviceCaps(kernels)) {
    if (memory != nullptr) lane_weights_.emplace(*memory, pool.num_threads(), cache_folder);
  }

  const DeviceCaps& caps() const override { return caps_; }
  DeviceTelemetry telemetry() const override { return {.submissions = submissions_.load(std::memory_order_relaxed)}; }

  Result<std::unique_ptr<Executable>> Compile(const BoundGraph& model, const Segment& segment,
                                              const ShapeBucket&) override {
    LEM_ASSIGN_OR_RETURN(CpuProgram program,
                         CompileCpuProgram(model, segment, lane_weights_ ? &*lane_weights_ : nullptr));
    return std::unique_ptr<Executable>(std::make_unique<CpuExecutable>(std::move(program), pool_, kernels_));
  }

  DeviceEvent Submit(Executable& executable, const Bindings& bindings, std::span<const DeviceEvent> waits) override {
    for (const DeviceEvent& wait : waits) {
      if (Status status = wait.Wait(); !status.ok()) return DeviceEvent::Finished(std::move(status));
    }
    static_cast<CpuExecutable&>(executable).Run(bindings);
    submissions_.fetch_add(1, std::memory_order_relaxed);
    return DeviceEvent::Finished(OkStatus());
  }

 private:
  ThreadPool& pool_;
  const KernelTable& kernels_;
  const DeviceCaps caps_;
  std::optional<LaneWeights> lane_weights_;
  std::atomic<uint64_t> submissions_{0};
};

}  // namespace

DeviceCaps CpuDeviceCaps(const KernelTable& kernels) {
  DeviceCaps caps;
  caps.id = "cpu";
  caps.kind = DeviceKind::kCpu;
  caps.name = GetCpuInfo().brand;
  caps.driver = kernels.name;
  caps.prefill_numerics = caps.decode_numerics = "i16";
  caps.weight_layouts = {Layout::kGgufRows, Layout::kLanes16};
  return caps;
}

std::unique_ptr<Device> MakeCpuDevice(ThreadPool& pool, const KernelTable& kernels, MemoryManager* memory,
                                      const std::filesystem::path& cache_folder) {
  return std::make_unique<CpuDevice>(pool, kernels, memory, cache_folder);
}

}  // namespace lem
