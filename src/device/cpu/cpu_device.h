// The CPU as a device: compiles a segment into a list of fused steps and runs them on the compute pool.
#pragma once

#include <filesystem>
#include <memory>

#include "base/thread_pool.h"
#include "device/device.h"
#include "kernels/kernels.h"

namespace lem {

// `pool`, `kernels` and `memory` must outlive the device. Submit is called from one thread at a time (the pool's rule).
// memory: where weights are repacked to for speed; null: they are used as they are stored, with the same bits.
// cache_folder: for repacked weights of model files; empty: they are repacked at each start.
std::unique_ptr<Device> MakeCpuDevice(ThreadPool& pool, const KernelTable& kernels, MemoryManager* memory = nullptr,
                                      const std::filesystem::path& cache_folder = {});
DeviceCaps CpuDeviceCaps(const KernelTable& kernels);

}  // namespace lem
