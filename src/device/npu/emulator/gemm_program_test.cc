// The NPU's GEMM: its numbers against plain loops, its speed against published measurements, and what it refuses.
#include "device/npu/emulator/gemm_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <tuple>

#include "device/npu/emulator/gemm_execute.h"
#include "device/npu/published_points.h"
#include "tensor/half.h"

namespace lem {
namespace {

GemmProgram Compile(const std::string& generation, const GemmConfig& config) {
  Result<GemmProgram> program = GemmProgram::Compile(**FindNpuGeneration(generation), config);
  EXPECT_TRUE(program.ok()) << program.status().ToString();
  return *program;
}

TEST(NpuTimingTest, PublishedProductsWithinBounds) {
  double sum = 0;
  ASSERT_EQ(PublishedGemms().size(), 8u);
  for (const PublishedGemm& point : PublishedGemms()) {
    const GemmProgram program = Compile(point.generation, point.config);
    const double error = program.Tops() / point.tops - 1;
    EXPECT_LE(std::abs(error), 0.12) << point.generation << " " << NpuTypeName(point.config.out);
    EXPECT_NEAR(program.MacsPerCycle() / point.macs_per_cycle, 1, 0.06);
    sum += std::abs(error);
  }
  EXPECT_LE(sum / 8, 0.05);
}

TEST(NpuTimingTest, PublishedSingleCores) {
  ASSERT_EQ(PublishedSingleCores().size(), 6u);
  for (PublishedGemm point : PublishedSingleCores()) {
    point.config.shape = {4096, 4096, 4096};
    const GemmProgram program = Compile(point.generation, point.config);
    EXPECT_NEAR(program.MacsPerCycle() / point.macs_per_cycle, 1, 0.06) << point.generation;
  }
}

// Percent lost by a change, as published and as predicted.
TEST(NpuTimingTest, PublishedAblations) {
  const auto point = [](const std::string& generation, NpuType in, NpuType out) {
    const auto found = std::ranges::find_if(PublishedGemms(), [&](const PublishedGemm& p) {
      return p.generation == generation && p.config.in == in && p.config.out == out;
    });
    return found->config;
  };
  const auto loss = [](const std::string& generation, const GemmConfig& before, const GemmConfig& after) {
    return 100 * (1 - Compile(generation, after).Tops() / Compile(generation, before).Tops());
  };
  GemmConfig base = point("xdna", NpuType::kBf16, NpuType::kBf16), changed = base;
  changed.contiguous = 56;
  EXPECT_NEAR(loss("xdna", base, changed), 59.3, 10);
  changed = base;
  changed.overlap_descriptors = false;
  EXPECT_NEAR(loss("xdna", base, changed), 27, 10);
  changed = base;
  changed.double_buffer_c = true;
  const double double_c = CompileBestGemm(**FindNpuGeneration("xdna"), changed, base.tile)->Tops();
  EXPECT_NEAR(100 * (1 - double_c / Compile("xdna", base).Tops()), 11.5, 10);
  EXPECT_LT(double_c, Compile("xdna", base).Tops());

  base = point("xdna2", NpuType::kI8, NpuType::kI16), changed = base;
  changed.overlap_descriptors = false;
  EXPECT_NEAR(loss("xdna2", base, changed), 27.8, 10);
  changed = base;
  changed.double_buffer_c = true;
  EXPECT_NEAR(100 * (1 - CompileBestGemm(**FindNpuGeneration("xdna2"), changed, base.tile)->Tops() /
                             Compile("xdna2", base).Tops()),
              15.2, 10);
  const std::tuple<const char*, NpuType, NpuType, double> row_major[] = {
      {"xdna", NpuType::kI8, NpuType::kI8, 4.8},     {"xdna", NpuType::kI8, NpuType::kI16, 4.4},
      {"xdna", NpuType::kBf16, NpuType::kBf16, 0.6}, {"xdna2", NpuType::kI8, NpuType::kI8, 19.1},
      {"xdna2", NpuType::kI8, NpuType::kI16, 25.2},  {"xdna2", NpuType::kBf16, NpuType::kBf16, 8.7}};
  for (const auto& [generation, in, out, published] : row_major) {
    base = point(generation, in, out), changed = base;
    changed.b_row_major = true;
    const double found = loss(generation, base, changed);
    EXPECT_NEAR(found, published, 10);
    EXPECT_GT(found, 0);
  }
}

TEST(NpuGemmTest, RefusesWhatDoesNotFitWithTheNumber) {
  const NpuGeneration& xdna2 = **FindNpuGeneration("xdna2");
  const auto message = [&](const GemmConfig& config) {
    const Result<GemmProgram> program = GemmProgram::Compile(xdna2, config);
    EXPECT_FALSE(program.ok());
    return program.status().message();
  };
  const GemmShape shape{512, 512, 512};
  EXPECT_THAT(message({.tile = {128, 128, 128}, .shape = shape}), testing::HasSubstr("131072 bytes"));
  EXPECT_THAT(message({.tile = {60, 64, 64}, .shape = shape}), testing::HasSubstr("tile m is 60"));
  EXPECT_THAT(message({.tile = {64, 64, 64}, .shape = shape, .contiguous = 100}), testing::HasSubstr("100"));
  EXPECT_THAT(message({.tile = {64, 64, 64}, .shape = {512, 8192, 512}, .contiguous = 4096}),
              testing::HasSubstr("MemTile"));
  EXPECT_THAT(message({.tile = {64, 64, 64}, .shape = {0, 1, 1}}), testing::HasSubstr("M is 0"));
  EXPECT_THAT(message({.tile = {64, 64, 64}, .shape = {8, 1 << 23, 8}}), testing::HasSubstr("stride"));
  EXPECT_THAT(message({.in = NpuType::kI16, .tile = {64, 64, 64}, .shape = shape}), testing::HasSubstr("i16"));
  EXPECT_FALSE(FindNpuGeneration("xdna9").ok());
}

// --- numbers ---

int64_t Uniform(std::mt19937& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

std::vector<std::byte> RandomBytes(std::mt19937& random, int64_t count) {
  std::vector<std::byte> bytes(static_cast<size_t>(count));
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

template <typename T>
T At(const std::vector<std::byte>& bytes, int64_t idx) {
  T value;
  std::memcpy(&value, bytes.data() + static_cast<size_t>(idx) * sizeof(T), sizeof(T));
  return value;
}

int64_t ShiftAndClamp(int64_t sum, int32_t shift, int64_t low, int64_t high) {
  if (shift > 0) sum = static_cast<int64_t>(std::floor(static_cast<double>(sum) / std::ldexp(1.0, shift) + 0.5));
  return std::clamp(sum, low, high);
}

// 1,000 random shapes, types, layouts and tiles: each is refused or gives exactly the numbers of plain loops.
TEST(NpuGemmTest, RandomShapesAreExact) {
  std::mt19937 random(7);
  int64_t ran = 0;
  for (int round = 0; round < 1000; ++round) {
    const NpuGeneration& generation = **FindNpuGeneration(round % 2 == 0 ? "xdna" : "xdna2");
    GemmConfig config;
    config.in = round % 3 == 0 ? NpuType::kBf16 : NpuType::kI8;
    const NpuType int_outputs[] = {NpuType::kI8, NpuType::kI16, NpuType::kI32};
    const NpuType float_outputs[] = {NpuType::kBf16, NpuType::kF32};
    config.out = config.in == NpuType::kI8 ? int_outputs[round % 7 % 3] : float_outputs[round % 2];
    config.tile = {8 * Uniform(random, 1, 6), 8 * Uniform(random, 1, 6), 8 * Uniform(random, 1, 6)};
    config.shape = {Uniform(random, 1, 70), Uniform(random, 1, 90), Uniform(random, 1, 70)};
    config.b_row_major = Uniform(random, 0, 1) == 1;
    config.split_rows = int64_t{1} << Uniform(random, 0, 2);
    config.shift = config.in == NpuType::kI8 ? static_cast<int32_t>(Uniform(random, 0, 12)) : 0;
    const Result<GemmProgram> program = GemmProgram::Compile(generation, config);
    ASSERT_TRUE(program.ok()) << program.status().ToString();
    EXPECT_GT(program->cost().seconds, 0);
    ++ran;
    const GemmShape& s = config.shape;
    const int64_t in = NpuTypeBytes(config.in), out = NpuTypeBytes(config.out);
    std::vector<std::byte> a, b;
    if (config.in == NpuType::kI8) {
      a = RandomBytes(random, s.m * s.k), b = RandomBytes(random, s.k * s.n);
    } else {
      for (auto* matrix : {&a, &b}) {
        matrix->resize(static_cast<size_t>((matrix == &a ? s.m : s.n) * s.k * in));
        for (size_t i = 0; i < matrix->size(); i += 2) {
          const uint16_t value = FloatToBfloat16(std::normal_distribution<float>(0, 1)(random));
          std::memcpy(matrix->data() + i, &value, 2);
        }
      }
    }
    std::vector<std::byte> c(static_cast<size_t>(s.m * s.n * out));
    ExecuteGemm(*program, a, b, c);
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < s.n; ++j) {
        const auto b_idx = [&](int64_t k) { return config.b_row_major ? k * s.n + j : j * s.k + k; };
        if (config.in == NpuType::kI8) {
          int64_t sum = 0;
          for (int64_t k = 0; k < s.k; ++k) sum += int64_t{At<int8_t>(a, i * s.k + k)} * At<int8_t>(b, b_idx(k));
          const int64_t bits = 8 * out - 1;
          const int64_t limit = (int64_t{1} << bits) - 1;
          const int64_t wanted = ShiftAndClamp(sum, config.shift, -limit - 1, limit);
          const int64_t idx = i * s.n + j;
          const int64_t found = out == 1 ? At<int8_t>(c, idx) : out == 2 ? At<int16_t>(c, idx) : At<int32_t>(c, idx);
          ASSERT_EQ(found, wanted) << "round " << round << " at " << i << ", " << j;
        } else {
          float sum = 0;
          for (int64_t k = 0; k < s.k; ++k) {
            sum += Bfloat16ToFloat(At<uint16_t>(a, i * s.k + k)) * Bfloat16ToFloat(At<uint16_t>(b, b_idx(k)));
            if (out == 2 && ((k + 1) % config.tile.k == 0 || k + 1 == s.k)) {
              sum = Bfloat16ToFloat(FloatToBfloat16(sum));
            }
          }
          const float found = out == 2 ? Bfloat16ToFloat(At<uint16_t>(c, i * s.n + j)) : At<float>(c, i * s.n + j);
          ASSERT_EQ(found, sum) << "round " << round << " at " << i << ", " << j;
        }
      }
    }
  }
  EXPECT_EQ(ran, 1000);
}

}  // namespace
}  // namespace lem
