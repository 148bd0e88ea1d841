// Products with quantised weights: every instruction set x type x layout x ragged shapes against float64 and against
// each other bit for bit, and the promise that a row's bits depend on nothing but the row.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/aligned.h"
#include "kernels/kernels.h"
#include "kernels/kernels_test_support.h"
#include "tensor/dequantize.h"

namespace lem {
namespace {

std::vector<DType> QuantizedTypes() {
  std::vector<DType> types = WeightTypes();
  std::erase_if(types, [](DType type) { return !HasLanes(type); });
  return types;
}

struct Problem {
  DType dtype;
  int64_t n, k, num_rows;
  size_t row_bytes;
  std::vector<std::byte> weight;   // [n, k] as GGUF stores it
  AlignedVector<std::byte> lanes;  // the same in lanes
  std::vector<float> in;           // [num_rows, k]
  std::vector<float> bias;         // [n] or empty

  Problem(DType type, int64_t num_columns, int64_t depth, int64_t rows, std::mt19937& rng, float max_scale = 0.05f,
          float deviation = 1.0f)
      : dtype(type),
        n(num_columns),
        k(depth),
        num_rows(rows),
        row_bytes(*RowBytes(type, static_cast<uint64_t>(depth))),
        weight(RandomWeights(type, num_columns, depth, max_scale, rng)),
        lanes(LaneBytes(type, num_columns, depth)),
        in(RandomFloats(rows * depth, rng, deviation)) {
    for (int64_t row = 0; row < n; row += kLaneRows) {
      PackLaneStrip(dtype, weight.data() + static_cast<size_t>(row) * row_bytes, row_bytes,
                    std::min(kLaneRows, n - row), k,
                    lanes.data() + static_cast<size_t>(row / kLaneRows) * LaneStripBytes(dtype, k));
    }
  }
};

// Calls `integer_linear` over [0, n) in the given pieces for the rows [row_begin, row_end); returns [rows, n].
std::vector<float> RunInteger(const KernelTable& table, const Problem& p, Layout layout, int64_t row_begin,
                              int64_t row_end, std::vector<int64_t> cuts = {}) {
  const int64_t num_rows = row_end - row_begin;
  AlignedVector<std::byte> buffer(IntegerRows::BufferBytes(num_rows, p.k), std::byte{0x7F});
  IntegerLinearArgs args;
  args.weight = layout == Layout::kLanes16 ? p.lanes.data() : p.weight.data();
  args.layout = layout;
  args.row_bytes = p.row_bytes;
  args.dtype = p.dtype;
  args.n = p.n;
  args.in = MakeIntegerRows(buffer.data(), num_rows, p.k, table);
  for (int64_t row = 0; row < num_rows; ++row) table.quantize_row(p.in.data() + (row_begin + row) * p.k, args.in, row);
  GuardedFloats out(num_rows * p.n);
  args.out = out.data();
  args.out_stride = p.n;
  args.bias = p.bias.empty() ? nullptr : p.bias.data();
  AlignedVector<float> scratch(static_cast<size_t>(LinearScratchFloats(p.k)) + 16, GuardedFloats::kSentinel);
  cuts.push_back(p.n);
  int64_t begin = 0;
  for (const int64_t end : cuts) {
    table.integer_linear(args, begin, end, scratch.data());
    begin = end;
  }
  for (size_t i = scratch.size() - 16; i < scratch.size(); ++i) EXPECT_EQ(scratch[i], GuardedFloats::kSentinel);
  return out.values();
}
std::vector<float> RunInteger(const KernelTable& table, const Problem& p, Layout layout = Layout::kLanes16) {
  return RunInteger(table, p, layout, 0, p.num_rows);
}

// Checks each output against a float64 sum. An activation is off by at most half of max / 32639; beyond that each of
// the two additions a group rounds sums of terms that are at most `largest code` times as large as the weights' own.
void ExpectNearReference(const Problem& p, const std::vector<float>& out, const std::string& what) {
  std::vector<float> row(static_cast<size_t>(p.k));
  for (int64_t n = 0; n < p.n; ++n) {
    DequantizeRow(p.dtype, p.weight.data() + static_cast<size_t>(n) * p.row_bytes, row.data(), p.k);
    const auto largest =
        static_cast<double>(std::fabs(*std::ranges::max_element(row, {}, [](float w) { return std::fabs(w); })));
    double weights = 0;
    for (const float w : row) weights += std::fabs(static_cast<double>(w));
    for (int64_t t = 0; t < p.num_rows; ++t) {
      double sum = p.bias.empty() ? 0.0 : static_cast<double>(p.bias[n]), inputs = 0, max = 0;
      for (int64_t i = 0; i < p.k; ++i) {
        const auto x = static_cast<double>(p.in[t * p.k + i]);
        sum += static_cast<double>(row[i]) * x;
        inputs += std::fabs(x);
        max = std::max(max, std::fabs(x));
      }
      const double rounding = 0x1p-24 * (static_cast<double>(p.k) / 8 + 8) * (8 * largest * inputs + std::fabs(sum));
      const double bound = 0.501 * max / 32639 * weights + rounding + 1e-37 * weights + 0x1p-140;
      ASSERT_NEAR(out[t * p.n + n], sum, bound) << what << " row " << t << " column " << n;
    }
  }
}

TEST(IntegerLinearTest, MatchesFloat64) {
  std::mt19937 rng(2);
  for (const DType dtype : QuantizedTypes()) {
    const auto block = static_cast<int64_t>(GetDTypeInfo(dtype).block_elements);
    for (const int64_t k : {block, 3 * block, 9 * block}) {
      for (const int64_t num_rows : {1, 2, 3, 4, 5, 8, 9, 13}) {
        for (const int64_t n : {1, 9, 16, 35}) {
          Problem p(dtype, n, k, num_rows, rng);
          if (n == 9) p.bias = RandomFloats(n, rng);
          for (const KernelTable* table : Tables()) {
            ExpectNearReference(p, RunInteger(*table, p), std::string(table->name) + " " + NameOf(dtype));
          }
        }
      }
    }
  }
}

// 16 bits are enough for an error some hundred times below that of the weights' own rounding.
TEST(IntegerLinearTest, ErrorIsSmallBesideThatOfEightBits) {
  std::mt19937 rng(9);
  const Problem p(DType::kQ4_1, 64, 1536, 8, rng);
  const std::vector<float> out = RunInteger(BestKernelTable(), p);
  std::vector<float> row(static_cast<size_t>(p.k));
  double error = 0, power = 0;
  for (int64_t n = 0; n < p.n; ++n) {
    DequantizeRow(p.dtype, p.weight.data() + static_cast<size_t>(n) * p.row_bytes, row.data(), p.k);
    for (int64_t t = 0; t < p.num_rows; ++t) {
      double sum = 0;
      for (int64_t i = 0; i < p.k; ++i) sum += static_cast<double>(row[i]) * static_cast<double>(p.in[t * p.k + i]);
      error += std::pow(out[t * p.n + n] - sum, 2);
      power += sum * sum;
    }
  }
  EXPECT_LT(std::sqrt(error / power), 1e-4);
}

TEST(IntegerLinearTest, ExtremeValues) {
  std::mt19937 rng(3);
  for (const DType dtype : QuantizedTypes()) {
    for (const int64_t num_rows : {1, 3, 9}) {
      std::vector<Problem> problems;
      problems.emplace_back(dtype, 17, 512, num_rows, rng, 65000.0f, 1e21f);   // huge
      problems.emplace_back(dtype, 17, 512, num_rows, rng, 0x1p-20f, 1e-38f);  // subnormal scales and inputs
      problems.emplace_back(dtype, 17, 512, num_rows, rng, 1e-3f, 0.0f);       // zero inputs
      problems.emplace_back(dtype, 17, 512, num_rows, rng, 0.0f, 1.0f);        // zero scales
      problems.emplace_back(dtype, 17, 512, num_rows, rng);                    // one outlier
      problems.back().in[77] = 1e6f;
      for (const Problem& p : problems) {
        for (const KernelTable* table : Tables()) {
          const std::vector<float> out = RunInteger(*table, p);
          for (const float x : out) ASSERT_TRUE(std::isfinite(x)) << table->name << " " << NameOf(dtype);
          ExpectNearReference(p, out, std::string(table->name) + " extreme " + NameOf(dtype));
        }
      }
    }
  }
}

// A row with an infinity or a NaN gives NaN, as it must; other rows of the batch do not notice.
TEST(IntegerLinearTest, NonFiniteRowsGiveNaN) {
  std::mt19937 rng(10);
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    Problem p(DType::kQ4_K, 16, 256, 6, rng);
    for (const KernelTable* table : Tables()) {
      const std::vector<float> good = RunInteger(*table, p);
      Problem spoilt = p;
      spoilt.in[2 * 256 + 100] = bad;
      const std::vector<float> out = RunInteger(*table, spoilt);
      for (int64_t i = 0; i < int64_t{6} * 16; ++i) {
        if (i / 16 == 2) {
          EXPECT_TRUE(std::isnan(out[i])) << table->name << " " << bad;
        } else {
          EXPECT_EQ(out[i], good[i]) << table->name << " " << bad;
        }
      }
    }
  }
}

// One row alone, then every size of batch to 64: the same bytes. Also for GGUF's layout.
TEST(IntegerLinearTest, BitsOfARowDoNotDependOnTheBatchOrTheLayout) {
  std::mt19937 rng(4);
  for (const DType dtype : QuantizedTypes()) {
    const int64_t n = 21, k = 1280;  // several chunks of groups, the last one not full
    const Problem all(dtype, n, k, 64, rng);
    for (const KernelTable* table : Tables()) {
      std::vector<float> alone;
      for (int64_t t = 0; t < 64; ++t) {
        const std::vector<float> one = RunInteger(*table, all, Layout::kLanes16, t, t + 1);
        alone.insert(alone.end(), one.begin(), one.end());
      }
      for (int64_t num_rows = 2; num_rows <= 64; ++num_rows) {
        if (table->isa == Isa::kPortable && num_rows > 10) break;  // slow, and nothing new
        const Layout layout = num_rows % 2 == 0 ? Layout::kLanes16 : Layout::kGgufRows;
        const std::vector<float> want(alone.begin(), alone.begin() + num_rows * n);
        ASSERT_TRUE(SameBits(RunInteger(*table, all, layout, 0, num_rows), want))
            << table->name << " " << NameOf(dtype) << " " << num_rows;
      }
    }
  }
}

TEST(IntegerLinearTest, ManyRowsAndCutsGiveTheSameBits) {
  std::mt19937 rng(5);
  for (const DType dtype : {DType::kQ4_1, DType::kQ6_K}) {
    const Problem p(dtype, 70, 256, 600, rng);  // more rows than are summed at a time
    for (const KernelTable* table : Tables()) {
      const std::vector<float> want = RunInteger(*table, p);
      EXPECT_TRUE(SameBits(RunInteger(*table, p, Layout::kLanes16, 0, 600, {16, 48, 64}), want)) << table->name;
      const std::vector<float> last = RunInteger(*table, p, Layout::kLanes16, 599, 600);
      EXPECT_TRUE(SameBits(last, {want.end() - 70, want.end()})) << table->name;
    }
  }
}

TEST(IntegerLinearTest, InstructionSetsGiveTheSameBits) {
  std::mt19937 rng(6);
  for (const DType dtype : QuantizedTypes()) {
    const auto block = static_cast<int64_t>(GetDTypeInfo(dtype).block_elements);
    for (const int64_t k : {block, 5 * block}) {
      for (const int64_t num_rows : {1, 2, 4, 6, 29}) {
        for (const float max_scale : {0.05f, 30000.0f, 0x1p-20f}) {
          const Problem p(dtype, 27, k, num_rows, rng, max_scale);
          const std::vector<float> want = RunInteger(*GetKernelTable(Isa::kPortable), p);
          for (const KernelTable* table : Tables()) {
            EXPECT_TRUE(SameBits(RunInteger(*table, p), want)) << table->name << " " << NameOf(dtype) << " k " << k;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace lem
