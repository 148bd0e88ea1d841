// What the NPU's number formats cost in accuracy: logits, perplexity and greedy choices of a model on `npu-emu` or
// `npu-openvino`, beside the CPU's float32, in the same windows over the same text.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "device/npu/compiler/static_graph.h"

namespace lem {

struct NpuAccuracyOptions {
  std::filesystem::path model;   // a .gguf file
  std::filesystem::path text;    // for perplexity; empty = none
  std::filesystem::path golden;  // a file of tests/golden with prompts and greedy answers; empty = none
  std::vector<NpuPrecisionMode> modes;
  std::string device = "npu-emu";    // or "npu-openvino"
  std::string generation = "xdna2";  // of npu-emu
  int64_t scale_group = NpuCompileOptions{}.scale_group;
  int64_t max_tokens = 0;        // of the text; 0 = all
  int64_t reference_tokens = 0;  // of the text's start, compared with the scalar reference, which is slow; 0 = none
  int32_t num_threads = 0;
};

struct NpuAccuracyResult {
  NpuPrecisionMode mode = NpuPrecisionMode::kMix;
  // Of the multiplications, by NpuPrecision; without embeddings.
  std::array<double, kNumNpuPrecisions> shares{};
  double logits_error = 0;  // squared differences from float32 over squares of float32
  double perplexity = 0;
  int64_t greedy_agreed = 0;  // tokens of the golden answers that are also this mode's choice, teacher-forced
  double busy_seconds = 0;    // by the device's own clock, virtual if it is emulated
  double joules = 0;          // emulated, of the NPU's rail; 0 = the device does not say
};

struct NpuAccuracyReport {
  std::string device_name;
  bool emulated = false;
  int64_t num_tokens = 0;  // scored for perplexity
  int64_t num_greedy = 0;  // tokens of the golden answers
  double perplexity = 0;   // in float32 on the CPU
  int64_t greedy_agreed = 0;
  // Squared differences of the CPU's logits from the scalar reference's over their squares.
  double cpu_error = 0;
  std::vector<NpuAccuracyResult> modes;
};

// Errors: those of loading, compiling and running; InvalidArgument if there is nothing to measure.
Result<NpuAccuracyReport> MeasureNpuAccuracy(const NpuAccuracyOptions& options);

}  // namespace lem
