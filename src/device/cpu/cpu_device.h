// The CPU as a device: compiles a segment into a list of fused steps and runs them on the compute pool.
#pragma once

#include <memory>

#include "base/thread_pool.h"
#include "device/device.h"
#include "kernels/kernels.h"

namespace lem {

// `pool` and `kernels` must outlive the device. Submit is called from one thread at a time (the pool's rule).
std::unique_ptr<Device> MakeCpuDevice(ThreadPool& pool, const KernelTable& kernels);
DeviceCaps CpuDeviceCaps(const KernelTable& kernels);

}  // namespace lem
