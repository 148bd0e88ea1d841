// `npu-openvino`: static graphs on OpenVINO, a real NPU runtime: on its NPU, or on its CPU plug-in where there is none,
// so that the same path runs everywhere. OpenVINO is behind a plug-in of our own that is opened at run time; without it
// everything else works and the listing says what is missing.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "device/device.h"
#include "device/npu/compiler/static_graph.h"
#include "kernels/kernels.h"

namespace lem {

struct OpenVinoOptions {
  std::string plugin;                  // a file; empty = beside the program
  std::string device;                  // "NPU" or "CPU"; empty = an NPU where there is one
  std::filesystem::path cache_folder;  // of compiled graphs; empty = none
  NpuCompileOptions compile;
  // Rows of the graphs, rising; empty = as fits the device. Every graph keeps a copy of its weights, so they are few.
  std::vector<int64_t> row_buckets;
  uint64_t lose_after = 0;  // submissions after which the device plays lost; 0 = never
};
// From LEM_OPENVINO_PLUGIN, LEM_OPENVINO_DEVICE=NPU|CPU, LEM_OPENVINO_LOSE_AFTER and LEM_NPU_PRECISION.
OpenVinoOptions OpenVinoOptionsFromEnvironment();

// All since the device was opened.
struct OpenVinoStats {
  uint64_t submissions = 0;
  uint64_t runs = 0;         // of graphs
  double busy_s = 0;         // of runs, by the wall clock
  uint64_t rows = 0;         // that were asked for
  uint64_t bucket_rows = 0;  // that were computed, padding included
  int64_t graphs_compiled = 0;
  int64_t graphs_from_cache = 0;
  double compile_s = 0;
  int64_t weights_converted = 0;
  uint64_t weight_bytes = 0;  // of converted weights in use
  uint64_t graph_bytes = 0;   // of the weights in graphs in use: the runtime keeps a copy in each
};

class OpenVinoDevice : public Device {
 public:
  virtual OpenVinoStats stats() const = 0;
};

// Errors: Unavailable in words if there is no plug-in, no OpenVINO or not the device that was asked for. Opens the
// plug-in, but no device.
Result<DeviceCaps> OpenVinoCaps(const OpenVinoOptions& options);

// `pool`, `kernels` and `memory` must outlive it. Submit is called from one thread at a time (the pool's rule) and
// returns when the step is computed; Compile from any. Errors: as OpenVinoCaps.
Result<std::unique_ptr<OpenVinoDevice>> MakeOpenVinoDevice(const OpenVinoOptions& options, ThreadPool& pool,
                                                           const KernelTable& kernels, MemoryManager& memory);

}  // namespace lem
