// lem-bench kernels: products with quantised weights beside what the machine can do at most: reading the same bytes,
// and multiplying the same integers out of the nearest cache. All measured in turns in one process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/kernels.h"

namespace lem {

struct KernelsBenchOptions {
  std::vector<std::string> types;   // names as GGUF tools print them; empty: all quantised ones
  std::vector<std::string> shapes;  // "N,K"; empty: those of small and middle-sized models
  std::vector<int64_t> rows;        // of activations; empty: 1, 2, 4, 8, 16, 32, 128, 512
  std::vector<std::string> isas;    // empty: the best one
  int64_t weight_mib = 64;          // each shape is a stack of matrices of this size, passed by as a model's layers
  int32_t num_threads = 0;
  int32_t num_runs = 5;  // the best one is told
};

struct KernelsBenchResult {
  std::string isa, type;
  int64_t n = 0, k = 0, num_rows = 0;
  double seconds = 0;       // of one pass over the weights
  double weight_bytes = 0;  // as the kernel reads them
  double read_gbps = 0;     // of plain reading of the same bytes
  double peak_gflops = 0;   // of products alone

  double gbps() const { return weight_bytes / seconds * 1e-9; }
  double gflops() const { return 2.0 * products / seconds * 1e-9; }
  double products = 0;
};

// Errors: InvalidArgument for a type, shape or instruction set that is unknown or not there.
Result<std::vector<KernelsBenchResult>> RunKernelsBench(const KernelsBenchOptions& options);

}  // namespace lem
