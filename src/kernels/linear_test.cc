// Linear layers: every instruction set x type x ragged shapes against float64 sums of the dequantised weights, and the
// promise that a row's bits depend on nothing but the row.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/kernels_test_support.h"
#include "tensor/dequantize.h"

namespace lem {
namespace {

struct Problem {
  DType dtype;
  int64_t n, k, num_rows;
  std::vector<std::byte> weight;  // [n, k]
  std::vector<float> in;          // [num_rows, k]
  std::vector<float> bias;        // [n] or empty

  Problem(DType type, int64_t n_, int64_t k_, int64_t rows, std::mt19937& rng, float max_scale = 0.05f,
          float deviation = 1.0f)
      : dtype(type),
        n(n_),
        k(k_),
        num_rows(rows),
        weight(RandomWeights(type, n_, k_, max_scale, rng)),
        in(RandomFloats(rows * k_, rng, deviation)) {}

  LinearArgs Args(float* out, int64_t out_stride) const {
    LinearArgs args;
    args.weight = weight.data();
    args.row_bytes = *RowBytes(dtype, static_cast<uint64_t>(k));
    args.dtype = dtype;
    args.k = k;
    args.in = in.data();
    args.in_stride = k;
    args.out = out;
    args.out_stride = out_stride;
    args.num_rows = num_rows;
    args.bias = bias.empty() ? nullptr : bias.data();
    return args;
  }
};

// Calls `linear` over [0, n) in the given pieces, each of at most kLinearPanelRows; returns [num_rows, n].
std::vector<float> RunLinear(const KernelTable& table, const Problem& p, std::vector<int64_t> cuts = {}) {
  GuardedFloats out(p.num_rows * p.n), scratch(LinearScratchFloats(p.k) + 16);
  float* aligned = scratch.data();
  while (reinterpret_cast<uintptr_t>(aligned) % 64 != 0) ++aligned;
  const LinearArgs args = p.Args(out.data(), p.n);
  cuts.push_back(p.n);
  int64_t begin = 0;
  for (const int64_t end : cuts) {
    table.linear(args, begin, end, aligned);
    begin = end;
  }
  scratch.Check();
  return out.values();
}

// Checks each output against a float64 sum. The bound: each lane adds K / 16 products with one or two roundings each,
// the tree and the bias add five more; every partial sum is at most sum |w x|.
void ExpectNearReference(const Problem& p, const std::vector<float>& out, const std::string& what) {
  std::vector<float> row(static_cast<size_t>(p.k));
  const size_t row_bytes = *RowBytes(p.dtype, static_cast<uint64_t>(p.k));
  for (int64_t n = 0; n < p.n; ++n) {
    DequantizeRow(p.dtype, p.weight.data() + static_cast<size_t>(n) * row_bytes, row.data(), p.k);
    for (int64_t t = 0; t < p.num_rows; ++t) {
      double sum = p.bias.empty() ? 0.0 : static_cast<double>(p.bias[n]), magnitude = std::fabs(sum);
      for (int64_t i = 0; i < p.k; ++i) {
        const double product = static_cast<double>(row[i]) * static_cast<double>(p.in[t * p.k + i]);
        sum += product;
        magnitude += std::fabs(product);
      }
      const double roundings = 2.0 * static_cast<double>((p.k + 15) / 16) + 5.0;
      const double bound = roundings * (0x1p-24 * magnitude + 0x1p-149);
      ASSERT_NEAR(out[t * p.n + n], sum, bound) << what << " row " << t << " column " << n;
    }
  }
}

// Rows of at least two blocks where the type has blocks; of ragged lengths where it has not.
std::vector<int64_t> RowLengths(DType dtype) {
  const auto block = static_cast<int64_t>(GetDTypeInfo(dtype).block_elements);
  if (block == 1) return {1, 15, 16, 17, 47, 100};
  return {block, 3 * block};
}

TEST(LinearTest, DequantizedRowsHaveTheBitsOfTheReference) {
  std::mt19937 rng(1);
  for (const KernelTable* table : Tables()) {
    for (const DType dtype : WeightTypes()) {
      for (const int64_t k : RowLengths(dtype)) {
        for (const float max_scale : {0.1f, 60000.0f, 0x1p-20f}) {
          const std::vector<std::byte> row = RandomWeights(dtype, 1, k, max_scale, rng);
          std::vector<float> want(static_cast<size_t>(k));
          DequantizeRow(dtype, row.data(), want.data(), k);
          GuardedFloats got(k);
          table->dequantize_row(dtype, row.data(), got.data(), k);
          EXPECT_TRUE(SameBits(got.values(), want)) << table->name << " " << NameOf(dtype) << " k " << k;
        }
      }
    }
  }
}

TEST(LinearTest, MatchesFloat64) {
  std::mt19937 rng(2);
  for (const DType dtype : WeightTypes()) {
    for (const int64_t k : RowLengths(dtype)) {
      for (const int64_t num_rows : {1, 2, 3, 4, 5, 7, 12, 26}) {
        for (const int64_t n : {1, 3, 4, 32}) {
          Problem p(dtype, n, k, num_rows, rng);
          if (n == 3) p.bias = RandomFloats(n, rng);
          for (const KernelTable* table : Tables()) {
            ExpectNearReference(p, RunLinear(*table, p), std::string(table->name) + " " + NameOf(dtype));
          }
        }
      }
    }
  }
}

// Rows longer than any block of columns, for each way to multiply: few and many rows of activations.
TEST(LinearTest, LongRows) {
  std::mt19937 rng(8);
  for (const DType dtype : WeightTypes()) {
    const int64_t k = GetDTypeInfo(dtype).block_elements == 1 ? 2203 : 2304;
    for (const int64_t num_rows : {1, 8, 31, 32, 33, 40}) {
      const Problem p(dtype, 7, k, num_rows, rng);
      std::vector<float> fused;
      for (const KernelTable* table : Tables()) {
        const std::vector<float> out = RunLinear(*table, p);
        ExpectNearReference(p, out, std::string(table->name) + " " + NameOf(dtype));
        if (table->isa == Isa::kPortable) continue;
        if (fused.empty()) fused = out;
        EXPECT_TRUE(SameBits(out, fused)) << table->name << " " << NameOf(dtype);
      }
    }
  }
}

TEST(LinearTest, ExtremeValues) {
  std::mt19937 rng(3);
  for (const DType dtype : WeightTypes()) {
    const int64_t k = GetDTypeInfo(dtype).block_elements == 1 ? 70 : 512;
    const bool is_k_type = GetDTypeInfo(dtype).block_elements == 256;
    for (const int64_t num_rows : {1, 3, 9}) {
      std::vector<Problem> problems;
      problems.emplace_back(dtype, 5, k, num_rows, rng, 65000.0f, 1e25f);                 // huge
      problems.emplace_back(dtype, 5, k, num_rows, rng, 0x1p-20f, 1e-38f);                // subnormal scales and inputs
      problems.emplace_back(dtype, 5, k, num_rows, rng, is_k_type ? 1e-3f : 0.1f, 0.0f);  // zero inputs
      problems.emplace_back(dtype, 5, k, num_rows, rng, 0.0f, 1.0f);                      // zero scales
      for (const Problem& p : problems) {
        for (const KernelTable* table : Tables()) {
          const std::vector<float> out = RunLinear(*table, p);
          for (const float x : out) ASSERT_TRUE(std::isfinite(x)) << table->name << " " << NameOf(dtype);
          ExpectNearReference(p, out, std::string(table->name) + " extreme " + NameOf(dtype));
        }
      }
    }
  }
}

// One row alone, then the same row as the last and the first of batches of up to 64.
TEST(LinearTest, BitsOfARowDoNotDependOnTheBatch) {
  std::mt19937 rng(4);
  for (const DType dtype : WeightTypes()) {
    const int64_t n = 13, k = GetDTypeInfo(dtype).block_elements == 1 ? 1201 : 1280;  // several blocks of columns
    const Problem all(dtype, n, k, 64, rng);
    for (const KernelTable* table : Tables()) {
      std::vector<float> alone(64 * n);
      for (int64_t t = 0; t < 64; ++t) {
        Problem one = all;
        one.num_rows = 1;
        one.in.assign(all.in.begin() + t * k, all.in.begin() + (t + 1) * k);
        const std::vector<float> out = RunLinear(*table, one);
        std::copy(out.begin(), out.end(), alone.begin() + t * n);
      }
      for (int64_t num_rows = 2; num_rows <= 64; ++num_rows) {
        Problem batch = all;
        batch.num_rows = num_rows;
        batch.in.resize(num_rows * k);
        const std::vector<float> want(alone.begin(), alone.begin() + num_rows * n);
        ASSERT_TRUE(SameBits(RunLinear(*table, batch), want)) << table->name << " " << NameOf(dtype) << " " << num_rows;
      }
    }
  }
}

TEST(LinearTest, BitsDoNotDependOnTheSplit) {
  std::mt19937 rng(5);
  for (const DType dtype : WeightTypes()) {
    const int64_t k = GetDTypeInfo(dtype).block_elements == 1 ? 99 : 256;
    for (const int64_t num_rows : {1, 4, 5, 30}) {
      const Problem p(dtype, 70, k, num_rows, rng);
      for (const KernelTable* table : Tables()) {
        const std::vector<float> want = RunLinear(*table, p, {32, 64});
        const std::vector<float> many_pieces = RunLinear(*table, p, {1, 6, 8, 37, 69});
        EXPECT_TRUE(SameBits(many_pieces, want)) << table->name << " " << NameOf(dtype);
        EXPECT_TRUE(SameBits(RunLinear(*table, p), want)) << table->name << " " << NameOf(dtype);
      }
    }
  }
}

TEST(LinearTest, InstructionSetsOfOneClassGiveTheSameBits) {
  if (FusedTables().size() < 2) GTEST_SKIP() << "this processor has fewer than two instruction sets with fused sums";
  std::mt19937 rng(6);
  for (const DType dtype : WeightTypes()) {
    for (const int64_t k : RowLengths(dtype)) {
      for (const int64_t num_rows : {1, 2, 4, 6, 29}) {
        for (const float max_scale : {0.05f, 30000.0f, 0x1p-20f}) {
          const Problem p(dtype, 11, k, num_rows, rng, max_scale);
          const std::vector<float> want = RunLinear(*FusedTables()[0], p);
          for (const KernelTable* table : FusedTables()) {
            EXPECT_TRUE(SameBits(RunLinear(*table, p), want)) << table->name << " " << NameOf(dtype) << " k " << k;
          }
        }
      }
    }
  }
}

// Strided rows: what lies between them stays as it was.
TEST(LinearTest, WritesOnlyItsColumns) {
  std::mt19937 rng(7);
  for (const KernelTable* table : Tables()) {
    for (const int64_t num_rows : {1, 3, 10}) {
      const int64_t n = 9, stride = 24;
      const Problem p(DType::kQ4_1, n, 64, num_rows, rng);
      GuardedFloats out(num_rows * stride), scratch(LinearScratchFloats(64));
      table->linear(p.Args(out.data(), stride), 2, 7, scratch.data());
      const std::vector<float> values = out.values();
      for (int64_t i = 0; i < num_rows * stride; ++i) {
        const bool inside = i % stride >= 2 && i % stride < 7;
        EXPECT_EQ(values[i] != GuardedFloats::kSentinel, inside) << table->name << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace lem
