// The linear kernels of the Vulkan device against double sums over the same dequantised weights.
#include <gtest/gtest.h>

#include "device/vulkan/testing/vulkan_test_device.h"

namespace lem {
namespace {

struct LinearCase {
  DType dtype = DType::kF32;
  int64_t n = 0, k = 0, rows = 0;
  bool bias = false, residual = false;
  LinearMethod method = LinearMethod::kMatVec;
  int64_t spare_rows = 0;  // of the bucket, beyond the rows of the step; mat-vec takes 1, 2, 4... rows in a pass
};

struct LinearResult {
  std::vector<float> out;
  std::vector<double> expected;
};

// Inputs, weights and the bias depend on the seeds alone: cases that differ in the number of rows share their rows.
LinearResult RunLinear(VulkanContext& context, const LinearCase& c, int64_t in_offset = 0) {
  const RandomWeights weights(c.dtype, c.n, c.k, 11);
  const std::vector<float> all_inputs = RandomFloats((in_offset + c.rows) * c.k, 12);
  const std::span<const float> inputs = std::span(all_inputs).subspan(static_cast<size_t>(in_offset * c.k));
  const std::vector<float> bias = RandomFloats(c.n, 13), residual = RandomFloats(c.rows * c.n, 14);
  const VulkanBuffer weight_buffer = UploadBytes(context, weights.bytes);
  const VulkanBuffer bias_buffer = UploadBytes(context, std::as_bytes(std::span(bias)));
  const DeviceMatrix in(context, c.rows, c.k, inputs);
  const DeviceMatrix residual_matrix(context, c.rows, c.n, residual);
  DeviceMatrix out(context, c.rows + 3, c.n);
  TestStep step(context, {{0, c.rows}}, {}, {}, 0, 1, {}, c.spare_rows);
  step.Run([&](VulkanRecorder& recorder) {
    RecordLinear(recorder, {.weight = weight_buffer.address(),
                            .row_bytes = weights.row_bytes,
                            .dtype = c.dtype,
                            .n = static_cast<uint32_t>(c.n),
                            .k = static_cast<uint32_t>(c.k),
                            .in = in.address(),
                            .in_stride = in.stride(),
                            .out = out.address(),
                            .out_stride = out.stride(),
                            .bias = c.bias ? bias_buffer.address() : 0,
                            .residual = c.residual ? residual_matrix.address() : 0,
                            .residual_stride = residual_matrix.stride(),
                            .method = c.method});
  });
  LinearResult result{out.Read(c.rows), {}};
  std::vector<std::vector<float>> rows;
  rows.reserve(static_cast<size_t>(c.n));
  for (int64_t n = 0; n < c.n; ++n) rows.push_back(weights.Row(n));
  for (int64_t t = 0; t < c.rows; ++t) {
    for (int64_t n = 0; n < c.n; ++n) {
      double sum = 0;
      for (int64_t i = 0; i < c.k; ++i) {
        sum += static_cast<double>(rows[static_cast<size_t>(n)][static_cast<size_t>(i)]) *
               static_cast<double>(inputs[static_cast<size_t>(t * c.k + i)]);
      }
      if (c.bias) sum += static_cast<double>(bias[static_cast<size_t>(n)]);
      if (c.residual) sum += static_cast<double>(residual[static_cast<size_t>(t * c.n + n)]);
      result.expected.push_back(sum);
    }
  }
  return result;
}

using VulkanLinearTest = VulkanTest;

// Sums in float32 against double.
constexpr double kFloatError = 1e-11;
// Both factors rounded to float16.
constexpr double kHalfError = 1e-6;

TEST_F(VulkanLinearTest, MatVecOfEveryType) {
  for (const DType dtype : AllWeightTypes()) {
    const auto result = RunLinear(context(), {.dtype = dtype, .n = 67, .k = 1280, .rows = 1});
    EXPECT_LE(NormalisedError(result.out, result.expected), kFloatError) << GetDTypeInfo(dtype).name;
  }
}

TEST_F(VulkanLinearTest, MatMulOfEveryType) {
  for (const DType dtype : AllWeightTypes()) {
    const auto result =
        RunLinear(context(), {.dtype = dtype, .n = 67, .k = 256, .rows = 33, .method = LinearMethod::kMatMul});
    EXPECT_LE(NormalisedError(result.out, result.expected), kFloatError) << GetDTypeInfo(dtype).name;
  }
}

TEST_F(VulkanLinearTest, MatMulInHalfTiles) {
  if (!context().info().fp16_arithmetic) GTEST_SKIP() << "no fp16 arithmetic here";
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_K}) {
    const auto result =
        RunLinear(context(), {.dtype = dtype, .n = 130, .k = 512, .rows = 33, .method = LinearMethod::kMatMulF16});
    const double error = NormalisedError(result.out, result.expected);
    EXPECT_LE(error, kHalfError) << GetDTypeInfo(dtype).name;
    EXPECT_GT(error, kFloatError) << "these are not half tiles";
  }
}

// Q8_0's blocks of 34 bytes begin at every multiple of 2.
TEST_F(VulkanLinearTest, ShapesOfMatVec) {
  for (const int64_t rows : {1, 2, 3, 4, 5, 8, 9, 17}) {
    for (const int64_t k : {32, 96, 416}) {
      const auto result = RunLinear(
          context(),
          {.dtype = DType::kQ8_0, .n = 13, .k = k, .rows = rows, .bias = true, .spare_rows = k % 64 / 32 * 3});
      EXPECT_LE(NormalisedError(result.out, result.expected), kFloatError) << rows << " rows, k " << k;
    }
  }
  for (const int64_t n : {1, 3, 4, 5, 259}) {
    const auto result = RunLinear(context(), {.dtype = DType::kQ8_0, .n = n, .k = 96, .rows = 3, .residual = true});
    EXPECT_LE(NormalisedError(result.out, result.expected), kFloatError) << "n " << n;
  }
}

TEST_F(VulkanLinearTest, ShapesOfMatMul) {
  for (const int64_t rows : {1, 31, 32, 34, 70}) {
    for (const int64_t n : {1, 63, 64, 65}) {
      const auto result = RunLinear(context(), {.dtype = DType::kQ8_0,
                                                .n = n,
                                                .k = 96,
                                                .rows = rows,
                                                .bias = true,
                                                .residual = true,
                                                .method = LinearMethod::kMatMul});
      EXPECT_LE(NormalisedError(result.out, result.expected), kFloatError) << rows << " rows, n " << n;
    }
  }
}

// Plain types take any K; then rows begin anywhere and have tails.
TEST_F(VulkanLinearTest, PlainTypesOfAnyLength) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int64_t k : {1, 3, 16, 31, 32, 33, 47, 130}) {
      const auto result = RunLinear(context(), {.dtype = dtype, .n = 9, .k = k, .rows = 2});
      EXPECT_LE(NormalisedError(result.out, result.expected), kFloatError) << GetDTypeInfo(dtype).name << ", k " << k;
    }
  }
  for (const int64_t k : {1, 33, 130}) {
    const auto result =
        RunLinear(context(), {.dtype = DType::kF16, .n = 9, .k = k, .rows = 5, .method = LinearMethod::kMatMul});
    EXPECT_LE(NormalisedError(result.out, result.expected), kFloatError) << "tiled, k " << k;
  }
}

// A row's bits are its own: the same for any number of rows in the call and any place among them.
TEST_F(VulkanLinearTest, ARowsBitsAreItsOwn) {
  for (const LinearMethod method : {LinearMethod::kMatVec, LinearMethod::kMatMul}) {
    LinearCase c{.dtype = DType::kQ4_K, .n = 37, .k = 512, .rows = 17, .bias = true, .method = method};
    const std::vector<float> all = RunLinear(context(), c).out;
    for (const auto& [begin, rows] :
         {std::pair{0, 1}, std::pair{3, 2}, std::pair{5, 4}, std::pair{16, 1}, std::pair{0, 2}}) {
      c.rows = rows;
      c.spare_rows = begin;
      const std::vector<float> part = RunLinear(context(), c, begin).out;
      EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + begin * c.n)) << rows << " rows from " << begin;
    }
  }
}

// Real GPUs share a row among more threads than the emulation does, and take more rows in one pass.
TEST_F(VulkanLinearTest, TuningsOfOtherDevices) {
  for (const VulkanTuning& tuning : {VulkanTuning{.matvec_lanes = 32, .matvec_rows = 4, .matvec_max_cols = 8},
                                     VulkanTuning{.matvec_lanes = 64, .matvec_rows = 2, .matvec_max_cols = 2}}) {
    std::string reason;
    const auto other = MakeTestContext({.tuning = tuning}, reason);
    ASSERT_NE(other, nullptr) << reason;
    const auto result = RunLinear(*other, {.dtype = DType::kQ8_0, .n = 131, .k = 1120, .rows = 8});
    EXPECT_LE(NormalisedError(result.out, result.expected), kFloatError) << tuning.matvec_lanes;
  }
}

}  // namespace
}  // namespace lem
