// A device for tests that takes as long to compile as the test wants, in the host's memory, and computes as the CPU
// does. Not a model of any hardware.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "device/device.h"

namespace lem {

class SlowDevice : public Device {
 public:
  // `cpu` does the work and must outlive it. `numerics`: what it says of itself; empty: as the CPU.
  SlowDevice(std::string id, Device& cpu, const std::string& numerics);

  const DeviceCaps& caps() const override { return caps_; }
  Status health() const override { return lost_.load() ? Unavailable("device lost") : OkStatus(); }
  DeviceTelemetry telemetry() const override { return {.submissions = submissions_.load()}; }
  // Waits for Finish.
  Result<std::unique_ptr<Executable>> Compile(const BoundGraph& model, const Segment& segment,
                                              const ShapeBucket& bucket) override;
  DeviceEvent Submit(Executable& executable, const Bindings& bindings, std::span<const DeviceEvent> waits) override;

  // Ends every Compile, from now on, with this status.
  void Finish(const Status& status = OkStatus());
  void Lose() { lost_.store(true); }
  void MakeBitsDependOnStep() { caps_.bits_depend_on_step = true; }

 private:
  Device& cpu_;
  DeviceCaps caps_;
  std::atomic<uint64_t> submissions_{0};
  std::atomic<bool> lost_{false};
  std::mutex mutex_;
  std::condition_variable finished_;
  bool is_finished_ = false;
  Status status_;
};

}  // namespace lem
