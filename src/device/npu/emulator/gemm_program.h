// The NPU's `lem_gemm`: C[M, N] = A[M, K] * B[K, N] as a tile program for the array of cores.
//
// A core keeps one m x n tile of C and takes k columns of A and k rows of B a step, both double-buffered in its L1. A
// goes along the array's rows, B down its columns; MemTiles hold a run of several k-steps, so that DRAM is read in long
// runs. A round computes one tile of C on every core. Compile lays this out, writes the descriptors of the data movers,
// refuses what the hardware cannot hold (ResourceExhausted with the number that did not fit; InvalidArgument for wrong
// granules) and predicts time and energy; gemm_execute.h runs it. Immutable; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "device/npu/emulator/npu_generation.h"

namespace lem {

struct GemmTile {
  int64_t m = 0, k = 0, n = 0;
  bool operator==(const GemmTile&) const = default;
};

struct GemmShape {
  int64_t m = 0, k = 0, n = 0;
};

struct GemmConfig {
  NpuType in = NpuType::kI8, out = NpuType::kI32;
  GemmTile tile;
  GemmShape shape;
  bool b_row_major = false;  // else column-major: each column of B is one run, as rows of a weight [N, K] are
  bool b_in_blocks = false;  // or: as a compiler that converts weights lays it out, each column's blocks in one piece
  bool double_buffer_c = false;
  bool overlap_descriptors = true;  // the next round's are written while this one runs
  int64_t contiguous = 0;           // elements of K read in one run: a multiple of k; 0 = what takes least time
  int64_t split_rows = 0;           // array rows that take different rows of A; the others share N. 0 = all
  int64_t weight_bits = 0;          // of B in DRAM; 0 = as `in`. 4: unpacked by the cores
  int64_t scale_group = 0;          // int8 products leave the integers for float32 every so many k; 0 = never
  int32_t shift = 0;                // of int32 sums to narrower outputs
};

// One descriptor of a data mover: what it reads or writes, as nested loops over 32-bit words.
struct DmaDescriptor {
  struct Loop {
    int64_t count = 0;
    int64_t stride_words = 0;
  };
  std::string name;         // "A from DRAM"
  std::vector<Loop> loops;  // outermost first; the last has stride 1
  int64_t words() const;
};

struct GemmCost {
  double seconds = 0;  // of the run, without dispatch
  double compute_s = 0, memory_s = 0, fill_s = 0;
  double dram_bytes = 0;
  double macs = 0;  // with padding
  double joules = 0;
};

class GemmProgram {
 public:
  // REQUIRES: nothing; every wrong number is an error. `generation` must outlive the program.
  static Result<GemmProgram> Compile(const NpuGeneration& generation, const GemmConfig& config);

  const NpuGeneration& generation() const { return *generation_; }
  const GemmConfig& config() const { return config_; }
  // The shape it computes: padded to whole tiles of the array and whole runs.
  const GemmShape& padded() const { return padded_; }
  int64_t group_m() const { return config_.tile.m * config_.split_rows; }
  int64_t group_n() const { return config_.tile.n * (generation_->cores() / config_.split_rows); }
  int64_t l1_bytes() const { return l1_bytes_; }
  int64_t memtile_bytes() const { return memtile_bytes_; }
  const std::vector<DmaDescriptor>& descriptors() const { return descriptors_; }
  const GemmCost& cost() const { return cost_; }
  double kernel_cycles() const { return kernel_cycles_; }
  double MacsPerCycle() const;  // of one core in one k-step
  // Of the unpadded product, dispatch included, as published figures are.
  double SecondsWithDispatch() const { return cost_.seconds + generation_->dispatch_s; }
  double JoulesWithDispatch() const { return cost_.joules + generation_->idle_w * generation_->dispatch_s; }
  double Tops() const;

 private:
  friend Result<GemmProgram> CompileBestGemm(const NpuGeneration&, GemmConfig, std::optional<GemmTile>);
  GemmProgram(const NpuGeneration& generation, const GemmConfig& config) : generation_(&generation), config_(config) {}
  Status CheckTypesAndGranules();
  Status CheckMemories();
  Status WriteDescriptors();
  void Predict();

  const NpuGeneration* generation_;
  GemmConfig config_;
  GemmShape padded_;
  int64_t l1_bytes_ = 0, memtile_bytes_ = 0;
  std::vector<DmaDescriptor> descriptors_;
  GemmCost cost_;
  double kernel_cycles_ = 0;
};

// The tiling of `config` (its tile is ignored, or an upper bound if `at_most` is set) that the model predicts to be
// fastest. Errors: ResourceExhausted if none fits.
Result<GemmProgram> CompileBestGemm(const NpuGeneration& generation, GemmConfig config,
                                    std::optional<GemmTile> at_most = std::nullopt);

}  // namespace lem
