#include "apps/lem-bench/kernels_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <limits>
#include <random>

#include "base/aligned.h"
#include "base/integer_math.h"
#include "base/thread_pool.h"
#include "tensor/half.h"

namespace lem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr DType kTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                            DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};
constexpr Isa kIsas[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Vnni};

struct Shape {
  int64_t n = 0, k = 0;
};

Result<std::vector<DType>> ParseTypes(const std::vector<std::string>& names) {
  std::vector<DType> types;
  for (const std::string& name : names) {
    const auto* found = std::ranges::find(kTypes, name, [](DType type) { return GetDTypeInfo(type).name; });
    if (found == std::end(kTypes)) return InvalidArgument("type '{}' is not a quantised type, such as Q4_K", name);
    types.push_back(*found);
  }
  if (types.empty()) types.assign(std::begin(kTypes), std::end(kTypes));
  return types;
}

Result<std::vector<Shape>> ParseShapes(const std::vector<std::string>& texts) {
  std::vector<Shape> shapes;
  for (const std::string& text : texts) {
    long long n = 0, k = 0;
    char rest = 0;
    if (std::sscanf(text.c_str(), "%lld,%lld%c", &n, &k, &rest) != 2 || n < 1 || k < 256 || k % 256 != 0 ||
        n > (1 << 24) || k > (1 << 20)) {
      return InvalidArgument("shape '{}' is not N,K with N >= 1 and K a multiple of 256, such as 2048,2048", text);
    }
    shapes.push_back({n, k});
  }
  if (shapes.empty()) shapes = {{1536, 512}, {512, 1536}, {2048, 2048}, {8960, 1536}, {1536, 8960}};
  return shapes;
}

Result<std::vector<const KernelTable*>> ParseIsas(const std::vector<std::string>& names) {
  std::vector<const KernelTable*> tables;
  for (const std::string& name : names) {
    const KernelTable* found = nullptr;
    for (const Isa isa : kIsas) {
      const KernelTable* table = GetKernelTable(isa);
      if (table != nullptr && table->name == name) found = table;
    }
    if (found == nullptr) return InvalidArgument("instruction set '{}' is unknown or not on this processor", name);
    tables.push_back(found);
  }
  if (tables.empty()) tables.push_back(&BestKernelTable());
  return tables;
}

// A stack of equal matrices in lanes.
struct Weights {
  DType dtype;
  Shape shape;
  int64_t num_matrices;
  AlignedVector<std::byte> bytes;

  Weights(DType type, Shape s, int64_t total_bytes) : dtype(type), shape(s) {
    const size_t one = LaneBytes(type, s.n, s.k);
    num_matrices = std::max<int64_t>(1, total_bytes / static_cast<int64_t>(one));
    bytes.resize(one * static_cast<size_t>(num_matrices));
    // Random blocks, with scales (any two bytes of them) that are small numbers.
    std::mt19937 rng(1);
    const size_t row_bytes = *RowBytes(type, static_cast<uint64_t>(s.k));
    std::vector<std::byte> rows(row_bytes * kLaneRows);
    for (std::byte& b : rows) b = static_cast<std::byte>(rng() % 32);
    for (size_t at = 0; at < bytes.size(); at += LaneStripBytes(type, s.k)) {
      PackLaneStrip(type, rows.data(), row_bytes, kLaneRows, s.k, bytes.data() + at);
    }
  }
};

class Runner {
 public:
  explicit Runner(const KernelsBenchOptions& options) : pool_(options.num_threads) {}

  // Seconds of reading all bytes once.
  double Read(const Weights& weights) {
    const auto num_bytes = static_cast<int64_t>(weights.bytes.size());
    constexpr int64_t kPiece = int64_t{256} * 1024;
    const Clock::time_point begin = Clock::now();
    pool_.Run(DivideUp(num_bytes, kPiece), [&](int64_t task, int) {
      const std::byte* p = weights.bytes.data() + task * kPiece;
      const std::byte* end = weights.bytes.data() + std::min(num_bytes, (task + 1) * kPiece);
      uint64_t sums[8] = {};
      for (; p < end; p += 64) {
        __builtin_prefetch(p + 4096);
        uint64_t words[8];
        std::memcpy(words, p, 64);
        for (int i = 0; i < 8; ++i) sums[i] += words[i];
      }
      for (const uint64_t sum : sums) sink_.fetch_xor(sum, std::memory_order_relaxed);
    });
    return Seconds(begin);
  }

  // Products a second, in 10^9 operations.
  double Peak(const KernelTable& table) {
    constexpr int64_t kGroups = 20'000;
    const int64_t num_tasks = int64_t{8} * pool_.num_threads();
    const Clock::time_point begin = Clock::now();
    pool_.Run(num_tasks, [&](int64_t, int) {
      sink_.fetch_xor(static_cast<uint64_t>(table.integer_products(kGroups)), std::memory_order_relaxed);
    });
    const double products = static_cast<double>(num_tasks * kGroups * table.max_tile_rows * kLaneRows * kLaneGroup);
    return 2 * products / Seconds(begin) * 1e-9;
  }

  // Seconds of all matrices times num_rows rows, split as the CPU device does.
  double Multiply(const KernelTable& table, const Weights& weights, int64_t num_rows) {
    const auto [n, k] = weights.shape;
    Prepare(table, weights.shape, num_rows);
    const Clock::time_point begin = Clock::now();
    for (int64_t m = 0; m < weights.num_matrices; ++m) {
      IntegerLinearArgs args;
      args.weight = weights.bytes.data() + static_cast<size_t>(m) * LaneBytes(weights.dtype, n, k);
      args.dtype = weights.dtype;
      args.n = n;
      args.in = in_;
      args.out = out_.data();
      args.out_stride = n;
      const int64_t strips = DivideUp(n, kLaneRows);
      const int64_t per_task = std::max<int64_t>(1, strips / (int64_t{6} * pool_.num_threads())) * kLaneRows;
      pool_.Run(DivideUp(n, per_task), [&](int64_t task, int thread) {
        table.integer_linear(args, task * per_task, std::min(n, (task + 1) * per_task),
                             scratch_[static_cast<size_t>(thread)].data());
      });
    }
    return Seconds(begin);
  }

 private:
  static double Seconds(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

  void Prepare(const KernelTable& table, Shape shape, int64_t num_rows) {
    std::vector<float> row(static_cast<size_t>(shape.k));
    std::mt19937 rng(2);
    std::normal_distribution<float> normal;
    for (float& x : row) x = normal(rng);
    buffer_.resize(IntegerRows::BufferBytes(num_rows, shape.k));
    in_ = MakeIntegerRows(buffer_.data(), num_rows, shape.k, table);
    for (int64_t r = 0; r < num_rows; ++r) table.quantize_row(row.data(), in_, r);
    out_.resize(static_cast<size_t>(num_rows * shape.n));
    scratch_.resize(static_cast<size_t>(pool_.num_threads()));
    for (auto& scratch : scratch_) scratch.resize(static_cast<size_t>(LinearScratchFloats(shape.k)));
  }

  ThreadPool pool_;
  std::atomic<uint64_t> sink_{0};
  AlignedVector<std::byte> buffer_;
  IntegerRows in_;
  AlignedVector<float> out_;
  std::vector<AlignedVector<float>> scratch_;  // [threads]
};

}  // namespace

Result<std::vector<KernelsBenchResult>> RunKernelsBench(const KernelsBenchOptions& options) {
  LEM_ASSIGN_OR_RETURN(const std::vector<DType> types, ParseTypes(options.types));
  LEM_ASSIGN_OR_RETURN(const std::vector<Shape> shapes, ParseShapes(options.shapes));
  LEM_ASSIGN_OR_RETURN(const std::vector<const KernelTable*> tables, ParseIsas(options.isas));
  std::vector<int64_t> rows = options.rows;
  if (rows.empty()) rows = {1, 2, 4, 8, 16, 32, 128, 512};
  Runner runner(options);
  std::vector<KernelsBenchResult> results;
  for (const DType type : types) {
    for (const Shape shape : shapes) {
      const Weights weights(type, shape, options.weight_mib << 20);
      const size_t first = results.size();
      for (const KernelTable* table : tables) {
        for (const int64_t num_rows : rows) {
          KernelsBenchResult& result = results.emplace_back();
          result.isa = table->name;
          result.type = GetDTypeInfo(type).name;
          result.n = shape.n;
          result.k = shape.k;
          result.num_rows = num_rows;
          result.seconds = std::numeric_limits<double>::max();
          result.weight_bytes = static_cast<double>(weights.bytes.size());
          result.products = static_cast<double>(weights.num_matrices * shape.n * shape.k * num_rows);
        }
      }
      double read_seconds = std::numeric_limits<double>::max();
      for (int32_t run = 0; run < options.num_runs; ++run) {
        read_seconds = std::min(read_seconds, runner.Read(weights));
        size_t at = first;
        for (const KernelTable* table : tables) {
          const double peak = runner.Peak(*table);
          for (size_t r = 0; r < rows.size(); ++r, ++at) {
            results[at].seconds = std::min(results[at].seconds, runner.Multiply(*table, weights, rows[r]));
            results[at].peak_gflops = std::max(results[at].peak_gflops, peak);
          }
        }
      }
      for (size_t at = first; at < results.size(); ++at) {
        results[at].read_gbps = results[at].weight_bytes / read_seconds * 1e-9;
      }
    }
  }
  return results;
}

}  // namespace lem
