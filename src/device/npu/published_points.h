// Published measurements of NPUs that the emulator is held to (tests/data/npu/ and data/, which name the sources),
// built into the program so that `lem-bench npu` can print predictions beside them.
#pragma once

#include <string>
#include <vector>

#include "device/npu/emulator/gemm_program.h"

namespace lem {

struct PublishedGemm {
  std::string generation;
  GemmConfig config;  // without a shape for single-core points
  double macs_per_cycle = 0;
  double tops = 0;  // 0 for single-core points
};
struct PublishedLlm {
  std::string soc, engine, model, phase;  // phase: "prefill", "decode"
  int64_t context = 0;
  double tokens_per_s = 0;
  bool fit = false;  // false: kept for context only
};

const std::vector<PublishedGemm>& PublishedGemms();        // whole products
const std::vector<PublishedGemm>& PublishedSingleCores();  // one core's kernel
const std::vector<PublishedLlm>& PublishedLlms();

}  // namespace lem
