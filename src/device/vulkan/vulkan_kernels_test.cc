// The small kernels of the Vulkan device (rows, norms, elements, rotation, cache writes) against the host.
#include "device/vulkan/vulkan_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "device/vulkan/testing/vulkan_test_device.h"
#include "tensor/half.h"

namespace lem {
namespace {

using VulkanKernelsTest = VulkanTest;

constexpr double kFloatError = 1e-11;

double D(float value) { return static_cast<double>(value); }

TEST_F(VulkanKernelsTest, EmbedIsExactForEveryType) {
  const std::vector<int32_t> tokens = {4, 0, 4, 9, 7};
  for (const DType dtype : AllWeightTypes()) {
    SCOPED_TRACE(GetDTypeInfo(dtype).name);
    // Plain types also with rows that are not a whole number of words.
    const bool quantised = GetDTypeInfo(dtype).block_elements > 1;
    for (const int64_t cols : quantised ? std::vector<int64_t>{256, 1792} : std::vector<int64_t>{256, 37}) {
      const RandomWeights table(dtype, 10, cols, 3);
      const VulkanBuffer buffer = UploadBytes(context(), table.bytes);
      DeviceMatrix out(context(), static_cast<int64_t>(tokens.size()) + 2, cols);
      TestStep step(context(), {{0, static_cast<int64_t>(tokens.size())}}, tokens, {});
      for (const float scale : {1.0f, 1.7f}) {
        step.Run([&](VulkanRecorder& recorder) {
          RecordEmbed(recorder, {.table = buffer.address(),
                                 .row_bytes = table.row_bytes,
                                 .dtype = dtype,
                                 .cols = static_cast<uint32_t>(cols),
                                 .scale = scale,
                                 .out = out.address(),
                                 .out_stride = out.stride()});
        });
        const std::vector<float> found = out.Read(static_cast<int64_t>(tokens.size()));
        for (size_t t = 0; t < tokens.size(); ++t) {
          const std::vector<float> row = table.Row(tokens[t]);
          for (size_t i = 0; i < row.size(); ++i) {
            ASSERT_EQ(found[t * row.size() + i], scale * row[i]) << "row " << t << ", column " << i;
          }
        }
      }
    }
  }
}

TEST_F(VulkanKernelsTest, RmsNormOverRowsAndHeads) {
  struct Case {
    int64_t rows, cols, group;
  };
  for (const Case& c : {Case{1, 576, 576}, Case{5, 37, 37}, Case{3, 512, 64}, Case{2, 5, 1}}) {
    SCOPED_TRACE(fmt::format("{} x {} in groups of {}", c.rows, c.cols, c.group));
    const std::vector<float> in = RandomFloats(c.rows * c.cols, 1, 3.0f), weight = RandomFloats(c.group, 2);
    const VulkanBuffer weight_buffer = UploadBytes(context(), std::as_bytes(std::span(weight)));
    const DeviceMatrix in_matrix(context(), c.rows, c.cols, in);
    DeviceMatrix out(context(), c.rows + 1, c.cols);
    TestStep step(context(), {{0, c.rows}}, {}, {});
    step.Run([&](VulkanRecorder& recorder) {
      RecordRmsNorm(recorder, {.in = in_matrix.address(),
                               .in_stride = in_matrix.stride(),
                               .weight = weight_buffer.address(),
                               .cols = static_cast<uint32_t>(c.cols),
                               .group = static_cast<uint32_t>(c.group),
                               .eps = 1e-5f,
                               .out = out.address(),
                               .out_stride = out.stride()});
    });
    std::vector<double> expected;
    for (int64_t begin = 0; begin < c.rows * c.cols; begin += c.group) {
      double sum = 0;
      for (int64_t i = begin; i < begin + c.group; ++i)
        sum += D(in[static_cast<size_t>(i)]) * D(in[static_cast<size_t>(i)]);
      const double scale = 1 / std::sqrt(sum / static_cast<double>(c.group) + D(1e-5f));
      for (int64_t i = 0; i < c.group; ++i) {
        expected.push_back(D(in[static_cast<size_t>(begin + i)]) * scale * D(weight[static_cast<size_t>(i)]));
      }
    }
    EXPECT_LE(NormalisedError(out.Read(c.rows), expected), kFloatError);
  }
}

TEST_F(VulkanKernelsTest, ElementsInAnyNumberOfColumns) {
  for (const int64_t cols : {1, 3, 4, 130, 516}) {
    SCOPED_TRACE(cols);
    constexpr int64_t kRows = 3;
    // Large values too: nothing may overflow on the way to a finite result.
    std::vector<float> a = RandomFloats(kRows * cols, 1, 4.0f);
    a[0] = -200.0f;
    a[a.size() - 1] = 200.0f;
    const std::vector<float> b = RandomFloats(kRows * cols, 2);
    const DeviceMatrix a_matrix(context(), kRows, cols, a), b_matrix(context(), kRows, cols, b);
    DeviceMatrix sum(context(), kRows + 2, cols), silu(context(), kRows + 2, cols), gelu(context(), kRows + 2, cols),
        capped(context(), kRows + 2, cols);
    TestStep step(context(), {{0, kRows}}, {}, {0, 1, 2});
    const auto n = static_cast<uint32_t>(cols);
    step.Run([&](VulkanRecorder& recorder) {
      RecordAdd(recorder, {.a = a_matrix.address(),
                           .b = b_matrix.address(),
                           .out = sum.address(),
                           .a_stride = a_matrix.stride(),
                           .b_stride = b_matrix.stride(),
                           .out_stride = sum.stride(),
                           .cols = n});
      VulkanGlu glu{.gate = a_matrix.address(),
                    .up = b_matrix.address(),
                    .out = silu.address(),
                    .gate_stride = a_matrix.stride(),
                    .up_stride = b_matrix.stride(),
                    .out_stride = silu.stride(),
                    .cols = n,
                    .activation = Activation::kSilu};
      RecordGlu(recorder, glu);
      glu.out = gelu.address();
      glu.activation = Activation::kGeluTanh;
      RecordGlu(recorder, glu);
      RecordSoftcap(recorder, {.in = a_matrix.address(),
                               .out = capped.address(),
                               .in_stride = a_matrix.stride(),
                               .out_stride = capped.stride(),
                               .cols = n,
                               .cap = 30.0f});
    });
    std::vector<double> silu_expected, gelu_expected, capped_expected;
    const std::vector<float> sums = sum.Read(kRows);
    for (size_t i = 0; i < a.size(); ++i) {
      const double x = D(a[i]);
      EXPECT_EQ(sums[i], a[i] + b[i]);
      silu_expected.push_back(x / (1 + std::exp(-x)) * D(b[i]));
      gelu_expected.push_back(0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))) * D(b[i]));
      capped_expected.push_back(30 * std::tanh(x / 30));
    }
    EXPECT_LE(NormalisedError(silu.Read(kRows), silu_expected), kFloatError);
    EXPECT_LE(NormalisedError(gelu.Read(kRows), gelu_expected), kFloatError);
    EXPECT_LE(NormalisedError(capped.Read(kRows), capped_expected), kFloatError);
  }
}

TEST_F(VulkanKernelsTest, SoftcapKeepsSmallValues) {
  const std::vector<float> in = {1e-7f, -1e-3f, 3.7f, -3.8f, 1e-20f, 0.0f, 1e30f, -1e30f};
  const DeviceMatrix in_matrix(context(), 1, 8, in);
  DeviceMatrix out(context(), 1, 8);
  TestStep step(context(), {{0, 1}}, {}, {0});
  step.Run([&](VulkanRecorder& recorder) {
    RecordSoftcap(recorder, {.in = in_matrix.address(),
                             .out = out.address(),
                             .in_stride = in_matrix.stride(),
                             .out_stride = out.stride(),
                             .cols = 8,
                             .cap = 30.0f});
  });
  const std::vector<float> found = out.Read(1);
  for (size_t i = 0; i < in.size(); ++i) {
    const double expected = 30 * std::tanh(D(in[i]) / 30);
    EXPECT_NEAR(D(found[i]), expected, 2e-6 * std::abs(expected)) << in[i];
  }
}

TEST_F(VulkanKernelsTest, CopyAndSelectMoveBits) {
  constexpr int64_t kRows = 6, kCols = 52;
  const std::vector<float> in = RandomFloats(kRows * kCols, 5);
  const DeviceMatrix in_matrix(context(), kRows, kCols, in);
  DeviceMatrix wide(context(), kRows + 1, 2 * kCols), selected(context(), 4, kCols);
  TestStep step(context(), {{0, kRows}}, {}, {1, 2, 5});
  step.Run([&](VulkanRecorder& recorder) {
    // Two copies side by side: what gathers a matrix whose rows were split.
    for (const int64_t offset : {int64_t{0}, kCols}) {
      RecordCopyColumns(recorder, {.in = in_matrix.address(),
                                   .out = wide.address() + static_cast<DeviceAddress>(offset) * 4,
                                   .in_stride = in_matrix.stride(),
                                   .out_stride = wide.stride(),
                                   .cols = kCols});
    }
    RecordSelectRows(recorder, {.in = in_matrix.address(),
                                .out = selected.address(),
                                .in_stride = in_matrix.stride(),
                                .out_stride = selected.stride(),
                                .cols = kCols});
  });
  const std::vector<float> copies = wide.Read(kRows), rows = selected.Read(3);
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t col = 0; col < 2 * kCols; ++col) {
      EXPECT_EQ(copies[static_cast<size_t>(row * 2 * kCols + col)], in[static_cast<size_t>(row * kCols + col % kCols)]);
    }
  }
  for (const auto& [output, row] : {std::pair{0, 1}, std::pair{1, 2}, std::pair{2, 5}}) {
    for (int64_t col = 0; col < kCols; ++col) {
      EXPECT_EQ(rows[static_cast<size_t>(output * kCols + col)], in[static_cast<size_t>(row * kCols + col)]);
    }
  }
}

TEST_F(VulkanKernelsTest, AStepWithoutRowsWritesNothing) {
  const std::vector<float> in = RandomFloats(8, 5);
  const DeviceMatrix in_matrix(context(), 2, 4, in);
  DeviceMatrix out(context(), 2, 4);
  TestStep step(context(), {{0, 0}}, {}, {});
  step.Run([&](VulkanRecorder& recorder) {
    RecordAdd(recorder, {.a = in_matrix.address(),
                         .b = in_matrix.address(),
                         .out = out.address(),
                         .a_stride = in_matrix.stride(),
                         .b_stride = in_matrix.stride(),
                         .out_stride = out.stride(),
                         .cols = 4});
  });
  EXPECT_TRUE(out.Read(0).empty());
}

// --- rotation and the cache ---

struct RopeShape {
  uint32_t heads = 3, head_dim = 32, rotary_dim = 32;
  bool interleaved = false;
};

// The rows' heads rotated on the host; the table is float32 as the kernels get it.
std::vector<double> Rotated(const RopeShape& s, std::span<const float> in, std::span<const int64_t> positions,
                            std::span<const double> frequencies) {
  std::vector<double> out(in.begin(), in.end());
  const size_t half = s.rotary_dim / 2;
  for (size_t head = 0; head < positions.size() * s.heads; ++head) {
    const auto position = static_cast<double>(positions[head / s.heads]);
    for (size_t i = 0; i < half; ++i) {
      const size_t first = head * s.head_dim + (s.interleaved ? 2 * i : i);
      const size_t second = s.interleaved ? first + 1 : first + half;
      const double c = D(static_cast<float>(std::cos(position * frequencies[i])));
      const double sn = D(static_cast<float>(std::sin(position * frequencies[i])));
      const double x = D(in[first]), y = D(in[second]);
      out[first] = x * c - y * sn;
      out[second] = x * sn + y * c;
    }
  }
  return out;
}

std::vector<double> Frequencies(uint32_t rotary_dim) {
  std::vector<double> frequencies;
  frequencies.reserve(rotary_dim / 2);
  for (uint32_t i = 0; i < rotary_dim / 2; ++i) {
    frequencies.push_back(std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim)));
  }
  return frequencies;
}

TEST_F(VulkanKernelsTest, RopeOfBothKinds) {
  for (const RopeShape& s : {RopeShape{}, RopeShape{.interleaved = true}, RopeShape{.rotary_dim = 16},
                             RopeShape{.heads = 1, .head_dim = 80, .rotary_dim = 80, .interleaved = true}}) {
    SCOPED_TRACE(fmt::format("{} heads of {}, {} rotated, {}", s.heads, s.head_dim, s.rotary_dim, s.interleaved));
    const auto frequencies = Frequencies(s.rotary_dim);
    TestStep step(context(), {{5, 3}, {1000, 2}}, {}, {}, 0, 1, {Frequencies(8), frequencies});
    const std::vector<int64_t> positions = {5, 6, 7, 1000, 1001};
    const int64_t cols = int64_t{s.heads} * s.head_dim;
    const std::vector<float> in = RandomFloats(5 * cols, 3);
    const DeviceMatrix in_matrix(context(), 5, cols, in);
    DeviceMatrix out(context(), 6, cols), in_place(context(), 5, cols, in);
    VulkanRope args{.in = in_matrix.address(),
                    .out = out.address(),
                    .in_stride = in_matrix.stride(),
                    .out_stride = out.stride(),
                    .cos_sin = step.rope(1),
                    .num_heads = s.heads,
                    .head_dim = s.head_dim,
                    .rotary_dim = s.rotary_dim,
                    .interleaved = s.interleaved};
    step.Run([&](VulkanRecorder& recorder) {
      RecordRope(recorder, args);
      args.in = args.out = in_place.address();
      RecordRope(recorder, args);
    });
    const std::vector<float> found = out.Read(5);
    EXPECT_LE(NormalisedError(found, Rotated(s, in, positions, frequencies)), 1e-13);
    EXPECT_EQ(in_place.Read(5), found);
  }
}

TEST_F(VulkanKernelsTest, StoreKvRoundsAsTheHostAndTouchesNothingElse) {
  for (const RopeShape& s : {RopeShape{.heads = 2}, RopeShape{.heads = 2, .rotary_dim = 16, .interleaved = true}}) {
    for (const bool rotate : {false, true}) {
      SCOPED_TRACE(fmt::format("interleaved {}, rotated {}", s.interleaved, rotate));
      const auto frequencies = Frequencies(s.rotary_dim);
      const size_t half_block = size_t{s.heads} * s.head_dim * 16 * 2;
      // A layer in the middle of a block; rows at the end of a block, over its edge and in a block of their own.
      const size_t k_offset = 64, v_offset = k_offset + half_block + 32, block_bytes = v_offset + half_block + 48;
      const std::vector<TestStep::Sequence> sequences = {{14, 4}, {0, 1}, {33, 0}, {31, 1}};
      TestStep step(context(), sequences, {}, {}, block_bytes, 1, {frequencies});
      const int64_t cols = int64_t{s.heads} * s.head_dim, rows = step.num_tokens();
      std::vector<float> k = RandomFloats(rows * cols, 8), v = RandomFloats(rows * cols, 9);
      // Values at the edges of float16: ties, subnormals, overflow.
      const float edges[] = {65504.0f, 65519.9f, 65520.0f, 6e-8f, 2.9e-8f, 1e-9f, -0.0f, 1.00048828125f, 2049.0f};
      std::copy(std::begin(edges), std::end(edges), v.begin());
      const DeviceMatrix k_matrix(context(), rows, cols, k), v_matrix(context(), rows, cols, v);
      step.Run([&](VulkanRecorder& recorder) {
        RecordStoreKv(recorder, {.kv = {.k_offset = static_cast<uint32_t>(k_offset),
                                        .v_offset = static_cast<uint32_t>(v_offset),
                                        .num_kv_heads = s.heads,
                                        .head_dim = s.head_dim},
                                 .k = k_matrix.address(),
                                 .v = v_matrix.address(),
                                 .k_stride = k_matrix.stride(),
                                 .v_stride = v_matrix.stride(),
                                 .cos_sin = rotate ? step.rope(0) : 0,
                                 .rotary_dim = s.rotary_dim,
                                 .interleaved = s.interleaved});
      });
      std::vector<int64_t> positions;
      for (const auto& sequence : sequences) {
        for (int64_t i = 0; i < sequence.num_rows; ++i) positions.push_back(sequence.first_position + i);
      }
      const std::vector<double> rotated = Rotated(s, k, positions, frequencies);
      size_t row = 0;
      for (size_t sequence = 0; sequence < sequences.size(); ++sequence) {
        const int64_t begin = sequences[sequence].first_position, end = begin + sequences[sequence].num_rows;
        for (int64_t block_begin = 0; block_begin < end; block_begin += 16) {
          const std::vector<std::byte> bytes = step.ReadBlock(sequence, block_begin);
          std::vector<bool> known(bytes.size(), false);
          const auto half_at = [&](size_t offset) {
            uint16_t bits = 0;
            std::memcpy(&bits, &bytes[offset], 2);
            known[offset] = known[offset + 1] = true;
            return bits;
          };
          for (int64_t p = std::max(begin, block_begin); p < std::min(end, block_begin + 16); ++p) {
            const auto token = static_cast<size_t>(p % 16);
            const size_t this_row = row + static_cast<size_t>(p - begin);
            for (size_t i = 0; i < static_cast<size_t>(cols); ++i) {
              const size_t head = i / s.head_dim, d = i % s.head_dim, source = this_row * static_cast<size_t>(cols) + i;
              const uint16_t key = half_at(k_offset + 2 * ((head * s.head_dim + d) * 16 + token));
              const uint16_t value = half_at(v_offset + 2 * ((head * 16 + token) * s.head_dim + d));
              ASSERT_EQ(value, FloatToHalf(v[source])) << v[source];
              if (rotate) {  // the product's rounding is the device's: at most one step of float16 off
                const double step_size =
                    std::ldexp(1.0, std::max(-24, std::ilogb(std::abs(rotated[source]) + 1e-30) - 10));
                ASSERT_NEAR(D(HalfToFloat(key)), rotated[source], 0.51 * step_size);
              } else {
                ASSERT_EQ(key, FloatToHalf(k[source]));
              }
            }
          }
          for (size_t i = 0; i < bytes.size(); ++i) {
            ASSERT_TRUE(known[i] || bytes[i] == std::byte{0xFF}) << "byte " << i << " of a block was written";
          }
        }
        row += static_cast<size_t>(sequences[sequence].num_rows);
      }
    }
  }
}

}  // namespace
}  // namespace lem
