// A device for tests with a memory of its own: the CPU's kernels over copies, so that what the executor and the memory
// manager do for such devices is checked bit for bit on every machine. Not a model of any hardware.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device/device.h"

namespace lem {

// Keeps a shadow of every mapped range. Thread-safe.
class ShadowMemory : public DeviceMemory {
 public:
  ShadowMemory(TransferLedger::Account& account, const std::atomic<bool>& lost) : account_(account), lost_(lost) {}

  bool shares_host_memory() const override { return false; }
  uint64_t free_bytes() const override { return uint64_t{1} << 30; }
  Status Map(const std::byte* data, size_t bytes, size_t granule) override;
  void Unmap(const std::byte* data) override;
  Status CopyIn(const std::byte* data, size_t bytes, TransferCause cause) override;
  Status CopyOut(std::byte* data, size_t bytes, TransferCause cause) override;
  // Null if the address is not mapped.
  std::byte* ShadowOf(const std::byte* data);
  size_t num_ranges();

 private:
  struct Range {
    size_t bytes = 0;
    std::byte* shadow = nullptr;  // pages of its own, committed by the first touch
  };
  TransferLedger::Account& account_;
  const std::atomic<bool>& lost_;
  std::mutex mutex_;
  std::map<const std::byte*, Range> ranges_;
};

class ShadowDevice : public Device {
 public:
  // `cpu` does the work and must outlive it.
  ShadowDevice(std::string id, Device& cpu, MemoryManager& memory);

  const DeviceCaps& caps() const override { return caps_; }
  ShadowMemory* memory() override { return &memory_; }
  Status health() const override;
  DeviceTelemetry telemetry() const override { return {.submissions = submissions_.load()}; }
  Result<std::unique_ptr<Executable>> Compile(const BoundGraph& model, const Segment& segment,
                                              const ShapeBucket& bucket) override;
  DeviceEvent Submit(Executable& executable, const Bindings& bindings, std::span<const DeviceEvent> waits) override;

  // After so many more submissions the device is lost, with all its memory. Negative: never.
  void LoseAfter(int64_t submissions) { until_loss_.store(submissions); }

 private:
  Device& cpu_;
  std::atomic<bool> lost_{false};
  std::atomic<int64_t> until_loss_{-1};
  std::atomic<uint64_t> submissions_{0};
  ShadowMemory memory_;
  DeviceCaps caps_;
};

}  // namespace lem
