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
  TestStep step(context, {{0, c.rows}}, {}, {});
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

TEST_F(VulkanLinearTest, MatVecOfEveryType) {
  for (const DType dtype : AllWeightTypes()) {
    const auto result = RunLinear(context(), {.dtype = dtype, .n = 67, .k = 1280, .rows = 1});
    EXPECT_LE(NormalisedError(result.out, result.expected), 1e-11) << GetDTypeInfo(dtype).name;
  }
}

TEST_F(VulkanLinearTest, MatMulOfEveryType) {
  for (const DType dtype : AllWeightTypes()) {
    const auto result =
        RunLinear(context(), {.dtype = dtype, .n = 67, .k = 256, .rows = 33, .method = LinearMethod::kMatMul});
    EXPECT_LE(NormalisedError(result.out, result.expected), 1e-11) << GetDTypeInfo(dtype).name;
  }
}

}  // namespace
}  // namespace lem
