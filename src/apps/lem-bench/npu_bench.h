// lem-bench npu: what the NPU emulator predicts, alone or beside published measurements. All times and energies are
// emulated (virtual clock, modelled power of the NPU's rail), but those of `--accuracy --device npu-openvino`.
#pragma once

#include <CLI/App.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"

namespace lem {

struct NpuBenchOptions {
  std::string generation = "xdna2";
  std::string input = "i8", output = "i32";
  std::string tile, shape;  // "m,k,n"; an empty shape: the table; an empty tile: the fastest
  std::string b_layout = "column";
  bool no_descriptor_overlap = false;
  bool double_buffer_c = false;
  int64_t contiguous = 0;
  std::string device = "npu-emu";        // of the accuracy
  std::filesystem::path accuracy_model;  // not empty: measure what the number formats cost
  std::filesystem::path text, golden;
  std::vector<std::string> modes;  // empty: mix, int8, bf16
  int64_t max_tokens = 0, scale_group = 32, reference_tokens = 0;
  bool llm = false;  // language models beside published speeds
  bool json = false;
};

// Adds the command "npu" to the program's.
CLI::App* AddNpuCommand(CLI::App& app, NpuBenchOptions& options);
// Prints. Errors: InvalidArgument, ResourceExhausted (what does not fit, with the number).
Status RunNpuBench(const NpuBenchOptions& options);

}  // namespace lem
