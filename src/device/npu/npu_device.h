// `npu-emu`: an emulated NPU as a device. It really computes, with the numbers of the modelled hardware, on the compute
// pool, and keeps a virtual clock and a virtual energy counter: its wall clock says nothing about any NPU. Kernels for
// real NPUs are not built by this program.
#pragma once

#include <filesystem>
#include <memory>

#include "base/thread_pool.h"
#include "device/device.h"
#include "device/npu/compiler/static_graph.h"
#include "kernels/kernels.h"

namespace lem {

struct NpuDeviceOptions {
  std::string generation = "xdna2";
  NpuCompileOptions compile;
  std::filesystem::path cache_folder;  // for converted weights; empty = none
};
// From LEM_NPU_GENERATION=xdna|xdna2 and LEM_NPU_PRECISION=mix|int8|int4|bf16.
NpuDeviceOptions NpuDeviceOptionsFromEnvironment();

// All since the device was opened; times and energies are virtual.
struct NpuStats {
  uint64_t dispatches = 0;
  double busy_s = 0;
  double joules = 0;            // of the NPU's own rail, modelled
  uint64_t rows = 0;            // that were asked for
  uint64_t bucket_rows = 0;     // that were computed, padding included
  int64_t graphs_compiled = 0;  // of the segments in use
  int64_t weights_converted = 0;
};

class NpuEmulatedDevice : public Device {
 public:
  virtual NpuStats stats() const = 0;
  virtual const NpuDeviceOptions& options() const = 0;
};

DeviceCaps NpuEmulatedCaps(const NpuDeviceOptions& options, const KernelTable& kernels);

// `pool`, `kernels` and `memory` must outlive it. Submit is called from one thread at a time (the pool's rule) and
// returns when the step is computed. Errors: NotFound (the generation).
Result<std::unique_ptr<NpuEmulatedDevice>> MakeNpuEmulatedDevice(const NpuDeviceOptions& options, ThreadPool& pool,
                                                                 const KernelTable& kernels, MemoryManager& memory);

}  // namespace lem
