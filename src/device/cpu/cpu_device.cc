#include "device/cpu/cpu_device.h"

#include <atomic>

#include "base/cpu_info.h"
#include "device/cpu/cpu_executable.h"

namespace lem {
namespace {

class CpuDevice : public Device {
 public:
  CpuDevice(ThreadPool& pool, const KernelTable& kernels) : pool_(pool), kernels_(kernels) {
    caps_.id = "cpu";
    caps_.kind = DeviceKind::kCpu;
    caps_.name = GetCpuInfo().brand;
    caps_.driver = kernels.name;
    caps_.prefill_numerics = caps_.decode_numerics = "f32x16";
    caps_.weight_layouts = {Layout::kGgufRows};
  }

  const DeviceCaps& caps() const override { return caps_; }
  DeviceTelemetry telemetry() const override { return {.submissions = submissions_.load(std::memory_order_relaxed)}; }

  Result<std::unique_ptr<Executable>> Compile(const BoundGraph& model, const Segment& segment,
                                              const ShapeBucket&) override {
    LEM_ASSIGN_OR_RETURN(CpuProgram program, CompileCpuProgram(model, segment));
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
  DeviceCaps caps_;
  std::atomic<uint64_t> submissions_{0};
};

}  // namespace

std::unique_ptr<Device> MakeCpuDevice(ThreadPool& pool, const KernelTable& kernels) {
  return std::make_unique<CpuDevice>(pool, kernels);
}

}  // namespace lem
