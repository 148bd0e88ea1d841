#include "device/testing/slow_device.h"

namespace lem {

SlowDevice::SlowDevice(std::string id, Device& cpu, const std::string& numerics) : cpu_(cpu), caps_(cpu.caps()) {
  caps_.id = std::move(id);
  caps_.name = "slow compiler, for tests";
  caps_.kind = DeviceKind::kNpu;
  caps_.emulated = true;
  caps_.compiles_slowly = true;
  if (!numerics.empty()) caps_.prefill_numerics = caps_.decode_numerics = numerics;
}

Result<std::unique_ptr<Executable>> SlowDevice::Compile(const BoundGraph& model, const Segment& segment,
                                                        const ShapeBucket& bucket) {
  {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return is_finished_; });
    LEM_TRY(status_);
  }
  return cpu_.Compile(model, segment, bucket);
}

DeviceEvent SlowDevice::Submit(Executable& executable, const Bindings& bindings, std::span<const DeviceEvent> waits) {
  if (lost_.load()) return DeviceEvent::Finished(Unavailable("device lost"));
  submissions_.fetch_add(1);
  return cpu_.Submit(executable, bindings, waits);
}

void SlowDevice::Finish(const Status& status) {
  {
    const std::lock_guard lock(mutex_);
    is_finished_ = true;
    status_ = status;
  }
  finished_.notify_all();
}

}  // namespace lem
