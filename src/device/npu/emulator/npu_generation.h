// What an NPU generation can do and how fast: the parameters of the emulator, read from the data files beside it, which
// name their sources. Immutable; thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lem {

enum class NpuType : uint8_t { kI8, kI16, kI32, kBf16, kF32 };
inline constexpr size_t kNumNpuTypes = 5;
int64_t NpuTypeBytes(NpuType type);
std::string_view NpuTypeName(NpuType type);  // "i8"
// Errors: InvalidArgument naming the types there are.
Result<NpuType> ParseNpuType(std::string_view name);

struct NpuGeneration {
  std::string id;    // "xdna2"
  std::string name;  // of the product line
  // The array, its memories and its data movers.
  int64_t rows = 0, columns = 0;
  double clock_hz = 0;
  int64_t l1_bytes = 0, l1_reserved_bytes = 0;  // of a core; reserved: its stack
  int64_t memtile_bytes = 0;                    // a column
  int64_t stream_bytes_per_cycle = 0;           // of one channel
  int64_t shim_descriptors = 0, memtile_descriptors = 0;
  int64_t core_dma_dims = 0, memtile_dma_dims = 0;
  int64_t dma_granule_bytes = 0;
  int64_t burst_bytes = 0;
  int64_t max_contexts = 0;
  int64_t vector_lanes_f32 = 0;
  // Smallest piece (m, k, n) that a core multiplies, by input type.
  std::array<std::array<int64_t, 3>, kNumNpuTypes> granule{};
  // Rates of one core. c_cycles: what a kernel call spends for each element of C besides multiplying.
  std::array<double, kNumNpuTypes> macs_per_cycle{};                      // by input type; 0 = cannot
  std::array<std::array<double, kNumNpuTypes>, kNumNpuTypes> c_cycles{};  // by input and output type; 0 = cannot
  double unpack_weights_per_cycle = 0;                                    // 4-bit weights to the multiplied type
  double multiply_add_cycles = 0, exp_cycles = 0;                         // one vector of float32 lanes
  // The way to DRAM.
  double dram_bytes_per_s = 0;
  double burst_overhead_bytes = 0;  // what a burst costs besides its own bytes
  double neighbour_merge = 0;       // 0..1: how far neighbouring columns' short runs join into one burst
  double overlap_norm = 0;          // computing and moving overlap as (c^q + m^q)^(1/q)
  // Fixed costs.
  double dispatch_s = 0, context_switch_s = 0, reconfiguration_s = 0, descriptor_reprogram_s = 0, op_overhead_s = 0;
  // Of the NPU's own rail.
  double idle_w = 0, joule_per_dram_byte = 0;
  std::array<double, kNumNpuTypes> joule_per_mac{};

  int64_t cores() const { return rows * columns; }
  int64_t l1_usable_bytes() const { return l1_bytes - l1_reserved_bytes; }
};

// "xdna", "xdna2". Errors: NotFound naming the generations there are.
Result<const NpuGeneration*> FindNpuGeneration(std::string_view id);
const std::vector<NpuGeneration>& NpuGenerations();

// Reads one data file. Errors: InvalidArgument naming the key that is missing or wrong.
Result<NpuGeneration> ParseNpuGeneration(std::string_view json);

}  // namespace lem
