// Speeds of the kernels for each instruction set: GB/s of weights or of keys and values, and GFLOP/s.
//   lem_kernels_benchmark --benchmark_filter='linear/avx512/Q4_1' --benchmark_repetitions=5
// Each thread is pinned and works on its own part of the output, as the CPU device splits it. The weights of `linear`
// are larger than the L2 cache and smaller than the L3 cache of a server.
#include <benchmark/benchmark.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/kernels_test_support.h"

namespace lem {
namespace {

constexpr int64_t kWeightBytes = int64_t{48} << 20;

void PinThread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  sched_setaffinity(0, sizeof(set), &set);
}

struct FreeDelete {
  void operator()(void* p) const { std::free(p); }
};
template <typename T>
std::unique_ptr<T[], FreeDelete> AlignedArray(int64_t n) {
  const size_t bytes = (static_cast<size_t>(n) * sizeof(T) + 4095) / 4096 * 4096;
  auto* p = static_cast<T*>(std::aligned_alloc(4096, bytes));
  std::fill_n(p, n, T{});
  return std::unique_ptr<T[], FreeDelete>(p);
}

void SetRate(benchmark::State& state, const char* name, double per_iteration) {
  state.counters[name] =
      benchmark::Counter(per_iteration * 1e-9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

// num_rows activations times a stack of matrices [n, k], one after the other, as the layers of a model.
void LinearBenchmark(benchmark::State& state, const KernelTable* table, DType dtype, int64_t num_rows, int64_t n,
                     int64_t k) {
  PinThread(state.thread_index());
  static std::vector<std::byte> weights;
  static std::vector<float> in, out;
  const auto row_bytes = static_cast<int64_t>(*RowBytes(dtype, static_cast<uint64_t>(k)));
  const int64_t num_matrices = std::max<int64_t>(1, kWeightBytes / (n * row_bytes));
  if (state.thread_index() == 0) {
    std::mt19937 rng(1);
    weights = RandomWeights(dtype, n, k, 0.01f, rng);
    const size_t one = weights.size();
    weights.resize(one * static_cast<size_t>(num_matrices));
    for (int64_t i = 1; i < num_matrices; ++i)
      std::copy_n(weights.begin(), one, weights.begin() + i * static_cast<int64_t>(one));
    in = RandomFloats(num_rows * k, rng);
    out.assign(static_cast<size_t>(num_rows * n), 0.0f);
  }
  const auto scratch = AlignedArray<float>(LinearScratchFloats(k));
  const int64_t begin = n * state.thread_index() / state.threads(),
                end = n * (state.thread_index() + 1) / state.threads();
  const int64_t piece = num_rows == 1 ? end - begin : kLinearPanelRows;
  int64_t matrix = 0;
  for (auto _ : state) {
    const LinearArgs args = {.weight = weights.data() + matrix * n * row_bytes,
                             .row_bytes = static_cast<size_t>(row_bytes),
                             .dtype = dtype,
                             .k = k,
                             .in = in.data(),
                             .in_stride = k,
                             .out = out.data(),
                             .out_stride = n,
                             .num_rows = num_rows};
    for (int64_t i = begin; i < end; i += piece) table->linear(args, i, std::min(i + piece, end), scratch.get());
    matrix = (matrix + 1) % num_matrices;
  }
  SetRate(state, "GB/s", static_cast<double>((end - begin) * row_bytes));
  SetRate(state, "GFLOP/s", 2.0 * static_cast<double>((end - begin) * k * num_rows));
}

// A model's KV pool of 9/3 heads x 64, one sequence, blocks in random order.
struct KvPool {
  static constexpr int64_t kHeads = 9, kKvHeads = 3, kHeadDim = 64, kGroup = kHeads / kKvHeads;
  static constexpr int64_t kSide = kKvHeads * kHeadDim * kKvBlockTokens;  // elements of one block's keys
  int64_t num_layers, context;
  std::unique_ptr<uint16_t[], FreeDelete> pool;
  std::vector<int32_t> block_table;

  KvPool(int64_t layers, int64_t tokens) : num_layers(layers), context(tokens) {
    const int64_t num_blocks = (tokens + kKvBlockTokens - 1) / kKvBlockTokens;
    pool = AlignedArray<uint16_t>(num_blocks * layers * 2 * kSide);
    std::mt19937 rng(1);
    for (int64_t i = 0; i < num_blocks * layers * 2 * kSide; ++i)
      pool[i] = FloatToHalf(static_cast<float>(rng() % 97) * 0.02f - 1.0f);
    for (int32_t i = 0; i < num_blocks; ++i) block_table.push_back(i);
    std::shuffle(block_table.begin(), block_table.end(), rng);
  }
  AttentionArgs Args(int64_t layer, const float* q, int64_t first, int64_t rows) const {
    AttentionArgs args;
    args.kv = {.base = reinterpret_cast<std::byte*>(pool.get()),
               .block_bytes = static_cast<size_t>(num_layers * 2 * kSide) * sizeof(uint16_t),
               .block_table = block_table.data(),
               .k_offset = static_cast<size_t>(layer * 2 * kSide) * sizeof(uint16_t),
               .v_offset = static_cast<size_t>(layer * 2 * kSide + kSide) * sizeof(uint16_t),
               .num_kv_heads = kKvHeads,
               .head_dim = kHeadDim};
    args.q = q;
    args.q_stride = kHeads * kHeadDim;
    args.num_rows = rows;
    args.num_heads = kHeads;
    args.first_position = first;
    args.scale = 0.125f;
    return args;
  }
};

// Rows [first, first + num_rows) of a context; one layer an iteration. Decode splits (kv head, chunk) over the threads,
// prefill (kv head, tile of rows).
void AttentionBenchmark(benchmark::State& state, const KernelTable* table, int64_t first, int64_t num_rows,
                        int64_t num_layers) {
  PinThread(state.thread_index());
  static std::unique_ptr<KvPool> pool;
  static std::vector<float> q;
  using P = KvPool;
  if (state.thread_index() == 0) {
    pool = std::make_unique<KvPool>(num_layers, first + num_rows);
    std::mt19937 rng(2);
    q = RandomFloats(num_rows * P::kHeads * P::kHeadDim, rng);
  }
  const auto scratch = AlignedArray<float>(AttentionScratchFloats());
  const int64_t stride = AttentionStateFloats(P::kHeadDim);
  const auto chunk = AlignedArray<float>(kAttentionMaxStates * stride),
             into = AlignedArray<float>(kAttentionMaxStates * stride);
  const int64_t tile_rows = std::min(num_rows, kAttentionMaxStates / P::kGroup);
  const int64_t num_tiles = (num_rows + tile_rows - 1) / tile_rows;
  int64_t layer = 0;
  for (auto _ : state) {
    const AttentionArgs args = pool->Args(layer, q.data(), first, num_rows);
    for (int64_t item = 0; item < P::kKvHeads * num_tiles; ++item) {
      const int64_t kv_head = item / num_tiles, row = item % num_tiles * tile_rows,
                    row_end = std::min(row + tile_rows, num_rows);
      const int64_t num_states = (row_end - row) * P::kGroup;
      if (num_tiles > 1 && item % state.threads() != state.thread_index()) continue;
      for (int64_t s = 0; s < num_states; ++s) into[s * stride] = -std::numeric_limits<float>::infinity();
      const int64_t num_chunks = (first + row_end + kAttentionChunk - 1) / kAttentionChunk;
      for (int64_t c = 0; c < num_chunks; ++c) {
        if (num_tiles == 1 && (item * num_chunks + c) % state.threads() != state.thread_index()) continue;
        table->attention_chunk(args, kv_head, row, row_end, c, chunk.get(), scratch.get());
        table->attention_merge(into.get(), chunk.get(), num_states, P::kHeadDim);
      }
      benchmark::DoNotOptimize(into[0]);
    }
    layer = (layer + 1) % num_layers;
  }
  const double share = 1.0 / state.threads();
  const auto keys_of_rows =
      static_cast<double>(num_rows) * (static_cast<double>(first) + static_cast<double>(num_rows + 1) / 2.0);
  SetRate(state, "GB/s", share * 2.0 * 2.0 * static_cast<double>(P::kKvHeads * P::kHeadDim * (first + num_rows)));
  SetRate(state, "GFLOP/s", share * 4.0 * keys_of_rows * static_cast<double>(P::kHeads * P::kHeadDim));
}

void SiluBenchmark(benchmark::State& state, const KernelTable* table) {
  std::mt19937 rng(1);
  const std::vector<float> gate = RandomFloats(1536, rng), up = RandomFloats(1536, rng);
  std::vector<float> out(1536);
  for (auto _ : state) {
    table->silu_mul(gate.data(), up.data(), out.data(), 1536);
    benchmark::ClobberMemory();
  }
  SetRate(state, "Gelements/s", 1536.0);
}

void Register(const std::string& name, auto function) {
  benchmark::RegisterBenchmark(name.c_str(), function)->UseRealTime()->ThreadRange(1, 2)->Unit(benchmark::kMicrosecond);
}

void RegisterTable(const KernelTable* table) {
  const std::string isa = std::string(table->name) + "/";
  for (const DType dtype : WeightTypes()) {
    for (const int64_t m : {1, 2, 4, 8, 16}) {
      if (m > 1 && dtype != DType::kQ4_1 && dtype != DType::kQ4_K) continue;
      Register("linear/" + isa + NameOf(dtype) + "/m" + std::to_string(m) + "/n1536/k1536",
               [=](benchmark::State& s) { LinearBenchmark(s, table, dtype, m, 1536, 1536); });
    }
  }
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{1536, 576}, {576, 1536}, {1536, 8960}}) {
    for (const int64_t m : {1, 32, 128, 512}) {
      Register("linear/" + isa + "Q4_1/m" + std::to_string(m) + "/n" + std::to_string(n) + "/k" + std::to_string(k),
               [=](benchmark::State& s) { LinearBenchmark(s, table, DType::kQ4_1, m, n, k); });
    }
  }
  for (const int64_t depth : {512, 4096}) {
    Register("attention/" + isa + "decode/depth" + std::to_string(depth),
             [=](benchmark::State& s) { AttentionBenchmark(s, table, depth - 1, 1, 30); });
  }
  for (const int64_t depth : {0, 2048}) {
    Register("attention/" + isa + "prefill512/depth" + std::to_string(depth),
             [=](benchmark::State& s) { AttentionBenchmark(s, table, depth, 512, 4); });
  }
  Register("silu_mul/" + isa + "n1536", [=](benchmark::State& s) { SiluBenchmark(s, table); });
}

}  // namespace
}  // namespace lem

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  for (const lem::KernelTable* table : lem::Tables()) lem::RegisterTable(table);
  benchmark::RunSpecifiedBenchmarks();
}
