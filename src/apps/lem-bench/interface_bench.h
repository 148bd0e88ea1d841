// lem-bench interface: what it costs to run the CPU behind the device interface instead of calling its program.
#pragma once

#include <filesystem>
#include <vector>

#include "base/status.h"

namespace lem {

struct InterfaceBenchResult {
  const char* test;                        // "decode": a step of one token; "prefill": a step of 128
  double direct_us = 0, interface_us = 0;  // the median step of each
  double ratio() const { return interface_us / direct_us; }
};

// Both ways take turns step by step over the same tokens. Errors: those of LoadModel and Device::Compile.
Result<std::vector<InterfaceBenchResult>> RunInterfaceBench(const std::filesystem::path& model, int num_threads,
                                                            int num_steps);

}  // namespace lem
