#include "device/npu/emulator/gemm_program.h"

#include <algorithm>
#include <cmath>

#include "base/integer_math.h"

namespace lem {
namespace {

constexpr int64_t kMaxExtent = int64_t{1} << 28;  // of a matrix
constexpr int64_t kMaxTile = 1024;
constexpr int64_t kWordBytes = 4;
// Fields of a buffer descriptor: 10 bits for the count of an inner loop, 20 for a stride in words.
constexpr int64_t kMaxLoopCount = 1023;
constexpr int64_t kMaxStrideWords = int64_t{1} << 20;
constexpr double kScaleOps = 2;  // from int32 to float32, then one multiply-add

int64_t RoundUp(int64_t a, int64_t b) { return DivideUp(a, b) * b; }

// A's or B's bytes of `elements`, B perhaps packed.
double WeightBytes(const GemmConfig& config, double elements) {
  return config.weight_bits == 0 ? elements * static_cast<double>(NpuTypeBytes(config.in))
                                 : elements * static_cast<double>(config.weight_bits) / 8;
}

double BurstEfficiency(const NpuGeneration& generation, double run_bytes) {
  const double bursts = std::ceil(run_bytes / static_cast<double>(generation.burst_bytes));
  return run_bytes / (run_bytes + generation.burst_overhead_bytes * bursts);
}

double KernelCycles(const NpuGeneration& g, const GemmConfig& config) {
  const auto m = static_cast<double>(config.tile.m), k = static_cast<double>(config.tile.k),
             n = static_cast<double>(config.tile.n);
  const auto in = static_cast<size_t>(config.in);
  const NpuType kept = config.scale_group > 0 ? NpuType::kI32 : config.out;
  double compute = m * k * n / g.macs_per_cycle[in] + g.c_cycles[in][static_cast<size_t>(kept)] * m * n;
  if (config.weight_bits != 0 && config.weight_bits != 8 * NpuTypeBytes(config.in)) {
    compute += k * n / g.unpack_weights_per_cycle;
  }
  if (config.scale_group > 0) {
    const double groups = std::ceil(k / static_cast<double>(config.scale_group));
    compute += m * n * groups * kScaleOps * g.multiply_add_cycles / static_cast<double>(g.vector_lanes_f32);
  }
  const auto width = static_cast<double>(g.stream_bytes_per_cycle);
  return std::max(
      {compute, m * k * static_cast<double>(NpuTypeBytes(config.in)) / width, WeightBytes(config, k * n) / width});
}

int64_t L1Bytes(const GemmConfig& config) {
  const GemmTile& t = config.tile;
  const int64_t in = NpuTypeBytes(config.in), out = NpuTypeBytes(config.out);
  return 2 * (t.m * t.k + t.k * t.n) * in + (config.double_buffer_c ? 2 : 1) * t.m * t.n * out;
}

// Of the fullest column. A's blocks, one for each part of the rows, are spread over the columns.
int64_t MemtileBytes(const NpuGeneration& g, const GemmConfig& config, int64_t run) {
  const GemmTile& t = config.tile;
  const int64_t in = NpuTypeBytes(config.in), out = NpuTypeBytes(config.out);
  const int64_t shared = g.rows / config.split_rows;  // cores of a column that take different columns of B
  const int64_t a_blocks = DivideUp(config.split_rows, g.columns);
  return 2 * (a_blocks * t.m * run + run * t.n * shared) * in +
         (config.double_buffer_c ? 2 : 1) * t.m * t.n * g.rows * out;
}

}  // namespace

int64_t DmaDescriptor::words() const {
  int64_t words = 1;
  for (const Loop& loop : loops) words *= loop.count;
  return words;
}

double GemmProgram::MacsPerCycle() const {
  return static_cast<double>(config_.tile.m * config_.tile.k * config_.tile.n) / kernel_cycles_;
}

double GemmProgram::Tops() const {
  const GemmShape& s = config_.shape;
  return 2.0 * static_cast<double>(s.m) * static_cast<double>(s.k) * static_cast<double>(s.n) / SecondsWithDispatch() /
         1e12;
}

Status GemmProgram::CheckTypesAndGranules() {
  const NpuGeneration& g = *generation_;
  const auto in = static_cast<size_t>(config_.in), out = static_cast<size_t>(config_.out);
  const bool scaled = config_.in == NpuType::kI8 && config_.out == NpuType::kF32 && config_.scale_group > 0;
  if (g.macs_per_cycle[in] <= 0 || (g.c_cycles[in][out] <= 0 && !scaled)) {
    return InvalidArgument("{} has no product of {} giving {}; allowed: i8 to i8, i16 or i32, bf16 to bf16 or f32",
                           g.id, NpuTypeName(config_.in), NpuTypeName(config_.out));
  }
  if (config_.scale_group > 0 && !scaled) {
    return InvalidArgument("scale groups are for i8 products giving f32, not {} giving {}", NpuTypeName(config_.in),
                           NpuTypeName(config_.out));
  }
  const std::array<int64_t, 3> tile = {config_.tile.m, config_.tile.k, config_.tile.n};
  constexpr const char* kNames[] = {"m", "k", "n"};
  for (size_t i = 0; i < 3; ++i) {
    const int64_t granule = g.granule[in][i];
    if (tile[i] < granule || tile[i] > kMaxTile || tile[i] % granule != 0) {
      return InvalidArgument("tile {} is {}; {} multiplies {} in multiples of {} up to {}", kNames[i], tile[i], g.id,
                             NpuTypeName(config_.in), granule, kMaxTile);
    }
  }
  const std::array<int64_t, 3> shape = {config_.shape.m, config_.shape.k, config_.shape.n};
  constexpr const char* kShapeNames[] = {"M", "K", "N"};
  for (size_t i = 0; i < 3; ++i) {
    if (shape[i] < 1 || shape[i] > kMaxExtent) {
      return InvalidArgument("{} is {}; allowed: 1 to {}", kShapeNames[i], shape[i], kMaxExtent);
    }
  }
  if (config_.split_rows == 0) config_.split_rows = g.rows;
  if (config_.split_rows < 1 || g.rows % config_.split_rows != 0) {
    return InvalidArgument("{} array rows cannot be split into {} parts of A", g.rows, config_.split_rows);
  }
  if (config_.shift < 0 || config_.shift > 31) {
    return InvalidArgument("the shift is {}; allowed: 0 to 31", config_.shift);
  }
  if (config_.weight_bits != 0 && (config_.weight_bits < 4 || config_.weight_bits > 8 * NpuTypeBytes(config_.in))) {
    return InvalidArgument("weights of {} bits cannot be multiplied as {}", config_.weight_bits,
                           NpuTypeName(config_.in));
  }
  const int64_t granule_bytes = g.dma_granule_bytes;
  if (config_.tile.n * NpuTypeBytes(config_.out) % granule_bytes != 0 ||
      config_.tile.k * NpuTypeBytes(config_.in) % granule_bytes != 0) {
    return InvalidArgument("rows of the tile are not whole {}-byte words", granule_bytes);
  }
  if (config_.b_in_blocks && config_.b_row_major) return InvalidArgument("B lies in blocks or by rows, not both");
  if (config_.contiguous % config_.tile.k != 0 || config_.contiguous < 0) {
    return InvalidArgument("the contiguous run is {} elements of K; it must be a multiple of the tile's k, {}",
                           config_.contiguous, config_.tile.k);
  }
  return OkStatus();
}

Status GemmProgram::CheckMemories() {
  const NpuGeneration& g = *generation_;
  l1_bytes_ = L1Bytes(config_);
  if (l1_bytes_ > g.l1_usable_bytes()) {
    return ResourceExhausted(
        "tile {}x{}x{} needs {} bytes of a core's memory; {} has {} ({} less {} of stack): take a smaller tile{}",
        config_.tile.m, config_.tile.k, config_.tile.n, l1_bytes_, g.id, g.l1_usable_bytes(), g.l1_bytes,
        g.l1_reserved_bytes, config_.double_buffer_c ? " or a single C" : "");
  }
  const int64_t shortest = MemtileBytes(g, config_, std::max(config_.contiguous, config_.tile.k));
  if (shortest > g.memtile_bytes) {
    return ResourceExhausted("tile {}x{}x{} with runs of {} needs {} bytes of a column's MemTile; {} has {}",
                             config_.tile.m, config_.tile.k, config_.tile.n,
                             std::max(config_.contiguous, config_.tile.k), shortest, g.id, g.memtile_bytes);
  }
  return OkStatus();
}

// The same equations as tools/fit_npu_model.py, which fits their parameters.
void GemmProgram::Predict() {
  const NpuGeneration& g = *generation_;
  const GemmTile& t = config_.tile;
  const double clock = g.clock_hz, out_bytes = static_cast<double>(NpuTypeBytes(config_.out));
  const auto in_bytes = static_cast<double>(NpuTypeBytes(config_.in));
  kernel_cycles_ = KernelCycles(g, config_);
  const int64_t rounds_m = DivideUp(config_.shape.m, group_m()), rounds_n = DivideUp(config_.shape.n, group_n());
  const auto rounds = static_cast<double>(rounds_m * rounds_n);
  const auto c_drain_s =
      static_cast<double>(t.m * t.n) * out_bytes / static_cast<double>(g.stream_bytes_per_cycle) / clock;
  const double neighbours = 1 + g.neighbour_merge * static_cast<double>(g.columns - 1);
  const int64_t n_a_column = t.n * (g.rows / config_.split_rows);

  const auto evaluate = [&](int64_t run) {
    const int64_t steps = DivideUp(config_.shape.k, run) * (run / t.k);
    const auto mp = static_cast<double>(rounds_m * group_m()), np = static_cast<double>(rounds_n * group_n()),
               kp = static_cast<double>(steps * t.k);
    GemmCost cost;
    cost.macs = mp * kp * np;
    cost.compute_s = rounds * static_cast<double>(steps) * kernel_cycles_ / clock;
    if (!config_.double_buffer_c) cost.compute_s += rounds * c_drain_s;
    const double a = mp * kp * static_cast<double>(rounds_n) * in_bytes;
    const double b = WeightBytes(config_, np * kp * static_cast<double>(rounds_m));
    const double c = mp * np * out_bytes;
    const double a_run = static_cast<double>(run) * in_bytes;
    double b_run = WeightBytes(config_, static_cast<double>(run));
    if (config_.b_in_blocks) b_run *= static_cast<double>(n_a_column);
    if (config_.b_row_major) {
      b_run = std::min(np * in_bytes, static_cast<double>(n_a_column) * in_bytes * neighbours);
    }
    const double c_run = static_cast<double>(n_a_column) * out_bytes * neighbours;
    const double a_rate = g.dram_bytes_per_s * BurstEfficiency(g, a_run);
    const double b_rate = g.dram_bytes_per_s * BurstEfficiency(g, b_run);
    cost.dram_bytes = a + b + c;
    cost.memory_s = a / a_rate + b / b_rate + c / (g.dram_bytes_per_s * BurstEfficiency(g, c_run));
    // Getting the first blocks to the cores, what is left to compute when the last have arrived, the last tiles of C.
    const auto block_m = static_cast<double>(std::min(group_m(), config_.shape.m));
    const double block = static_cast<double>(run) * in_bytes * block_m / a_rate +
                         WeightBytes(config_, static_cast<double>(run * group_n())) / b_rate;
    const int64_t tail_blocks = run / t.k;  // whole ones
    const double tail = std::max(1.0, static_cast<double>(tail_blocks)) * kernel_cycles_ / clock;
    const double drain = c_drain_s + block_m * static_cast<double>(group_n()) * out_bytes / g.dram_bytes_per_s;
    cost.fill_s = block + tail + drain;
    const double q = g.overlap_norm;
    cost.seconds = std::pow(std::pow(cost.compute_s, q) + std::pow(cost.memory_s, q), 1 / q) + cost.fill_s;
    // Else every round runs the array dry, writes descriptors and fills it again.
    if (!config_.overlap_descriptors) cost.seconds += (rounds - 1) * (cost.fill_s + tail + g.descriptor_reprogram_s);
    cost.joules = g.idle_w * cost.seconds + cost.macs * g.joule_per_mac[static_cast<size_t>(config_.in)] +
                  cost.dram_bytes * g.joule_per_dram_byte;
    return cost;
  };

  int64_t run = config_.contiguous;
  if (run > 0) {
    cost_ = evaluate(run);
  } else {
    const int64_t longest = std::max<int64_t>(1, g.burst_bytes / NpuTypeBytes(config_.in) / t.k);
    for (int64_t steps = 1; steps <= longest; ++steps) {
      if (MemtileBytes(g, config_, steps * t.k) > g.memtile_bytes) break;
      const GemmCost cost = evaluate(steps * t.k);
      if (run == 0 || cost.seconds < cost_.seconds) {
        cost_ = cost;
        run = steps * t.k;
      }
    }
  }
  config_.contiguous = run;
  memtile_bytes_ = MemtileBytes(g, config_, run);
  padded_ = {rounds_m * group_m(), RoundUp(config_.shape.k, run), rounds_n * group_n()};
}

Status GemmProgram::WriteDescriptors() {
  const NpuGeneration& g = *generation_;
  const GemmTile& t = config_.tile;
  const auto& granule = g.granule[static_cast<size_t>(config_.in)];
  const int64_t in = NpuTypeBytes(config_.in), out = NpuTypeBytes(config_.out);
  const auto words = [](int64_t bytes) { return bytes / kWordBytes; };
  const int64_t run = config_.contiguous, run_words = words(run * in), k_words = words(padded_.k * in);
  const int64_t blocks = padded_.k / run;
  const int64_t n_a_column = t.n * (g.rows / config_.split_rows);
  const int64_t b_row_words = words(padded_.n * in), b_tile_words = words(n_a_column * in);
  descriptors_ = {
      {"A from DRAM", {{blocks, run_words}, {t.m, k_words}, {run_words, 1}}},
      // m/r x k/s pieces of r x s: the layout that a core multiplies.
      {"A to cores",
       {{t.m / granule[0], granule[0] * run_words},
        {t.k / granule[1], words(granule[1] * in)},
        {granule[0], run_words},
        {words(granule[1] * in), 1}}},
      {"C to DRAM", {{t.m * config_.split_rows, words(padded_.n * out)}, {words(n_a_column * out), 1}}},
  };
  if (config_.b_row_major) {
    descriptors_.push_back({"B from DRAM", {{padded_.k, b_row_words}, {b_tile_words, 1}}});
    descriptors_.push_back({"B to cores",
                            {{t.k / granule[1], granule[1] * b_tile_words},
                             {t.n / granule[2], words(granule[2] * in)},
                             {granule[1], b_tile_words},
                             {words(granule[2] * in), 1}}});
  } else {
    if (config_.b_in_blocks) {
      descriptors_.push_back(
          {"B from DRAM", {{blocks, n_a_column * run_words}, {n_a_column, run_words}, {run_words, 1}}});
    } else {
      descriptors_.push_back({"B from DRAM", {{blocks, run_words}, {n_a_column, k_words}, {run_words, 1}}});
    }
    descriptors_.push_back({"B to cores",
                            {{t.n / granule[2], granule[2] * run_words},
                             {t.k / granule[1], words(granule[1] * in)},
                             {granule[2], run_words},
                             {words(granule[1] * in), 1}}});
  }
  for (const DmaDescriptor& d : descriptors_) {
    const bool from_memtile = d.name.ends_with("cores");
    const int64_t dims = from_memtile ? g.memtile_dma_dims : g.core_dma_dims;
    if (static_cast<int64_t>(d.loops.size()) > dims) {
      return ResourceExhausted("descriptor '{}' needs {} dimensions; {} has {}", d.name, d.loops.size(), g.id, dims);
    }
    for (size_t i = 0; i < d.loops.size(); ++i) {
      if (i > 0 && d.loops[i].count > kMaxLoopCount) {
        return ResourceExhausted(
            "descriptor '{}' needs {} turns of loop {}; at most {} are possible: take a smaller tile", d.name,
            d.loops[i].count, i, kMaxLoopCount);
      }
      if (d.loops[i].stride_words > kMaxStrideWords) {
        return ResourceExhausted("descriptor '{}' needs a stride of {} words; at most {} are possible: cut the matrix",
                                 d.name, d.loops[i].stride_words, kMaxStrideWords);
      }
    }
  }
  // Two of each for the next round while this one runs; a MemTile also holds one a core for its part of A, B and C.
  const int64_t shim = int64_t{2} * 3, memtile = int64_t{2} * (3 + 2 + g.rows);
  if (shim > g.shim_descriptors || memtile > g.memtile_descriptors) {
    return ResourceExhausted("the program needs {} shim and {} MemTile descriptors a column; {} has {} and {}", shim,
                             memtile, g.id, g.shim_descriptors, g.memtile_descriptors);
  }
  return OkStatus();
}

Result<GemmProgram> GemmProgram::Compile(const NpuGeneration& generation, const GemmConfig& config) {
  GemmProgram program(generation, config);
  LEM_TRY(program.CheckTypesAndGranules());
  LEM_TRY(program.CheckMemories());
  program.Predict();
  LEM_TRY(program.WriteDescriptors());
  return program;
}

Result<GemmProgram> CompileBestGemm(const NpuGeneration& generation, GemmConfig config,
                                    std::optional<GemmTile> at_most) {
  const auto& granule = generation.granule[static_cast<size_t>(config.in)];
  const int64_t step_m = std::max<int64_t>(granule[0], 8), step_n = std::max<int64_t>(granule[2], 8);
  const GemmTile limit = at_most.value_or(GemmTile{144, 256, 144});
  std::vector<int64_t> splits = {config.split_rows};
  if (config.split_rows == 0 && !at_most) splits = {generation.rows, generation.rows / 2, 1};
  std::optional<GemmConfig> best;
  double best_s = 0;
  // Time alone decides; descriptors are written for the winner.
  for (const int64_t split : splits) {
    config.split_rows = split;
    const int64_t parts = split == 0 ? generation.rows : split;
    const int64_t useful_m = RoundUp(DivideUp(config.shape.m, parts), step_m);
    for (int64_t m = step_m; m <= std::min(limit.m, useful_m); m += m < 32 ? step_m : 16) {
      for (int64_t n = 16; n <= limit.n; n += at_most ? step_n : 16) {
        for (int64_t k = 16; k <= limit.k; k += granule[1]) {
          config.tile = {m, k, n};
          // Whole scale groups in a step.
          if (config.scale_group > 0 && k % config.scale_group != 0) continue;
          if (L1Bytes(config) > generation.l1_usable_bytes()) break;
          GemmProgram program(generation, config);
          if (!program.CheckTypesAndGranules().ok() || !program.CheckMemories().ok()) continue;
          program.Predict();
          if (!best || program.cost().seconds < best_s) {
            best = config;
            best_s = program.cost().seconds;
          }
        }
      }
    }
  }
  if (!best) {
    return ResourceExhausted("no tile of a product {}x{}x{} of {} fits {}", config.shape.m, config.shape.k,
                             config.shape.n, NpuTypeName(config.in), generation.id);
  }
  return GemmProgram::Compile(generation, *best);
}

}  // namespace lem
