#include "tensor/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tensor/dequantize.h"
#include "tensor/quants_test_data.h"

namespace lem {
namespace {

TEST(QuantizeTest, GivesTheBytesOfTheGgufPackage) {
  const std::vector<QuantsCase> cases = ReadQuantsCases("quantize");
  ASSERT_EQ(cases.size(), 7u);
  for (const QuantsCase& c : cases) {
    std::vector<std::byte> row(c.bytes.size());
    QuantizeRow(c.dtype, c.values.data(), row.data(), static_cast<int64_t>(c.values.size()));
    EXPECT_EQ(row, c.bytes) << c.type;
  }
}

struct StepCase {
  DType dtype;
  int64_t group;   // elements that share a scale
  float steps;     // of the widest range of a group
  bool symmetric;  // the range is +-max|x|, not [min, max]
};

// The error of an element is at most half a step, plus what rounding the scale and the minimum adds at the far end.
TEST(QuantizeTest, KTypesErrByHalfAStep) {
  constexpr int64_t kElements = 1024;
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  std::vector<float> in(kElements), out(kElements);
  for (float& x : in) x = normal(rng);
  for (const StepCase& c :
       {StepCase{DType::kQ4_K, 256, 15, false}, {DType::kQ5_K, 256, 31, false}, {DType::kQ6_K, 256, 63, true}}) {
    std::vector<std::byte> row(*RowBytes(c.dtype, kElements));
    QuantizeRow(c.dtype, in.data(), row.data(), kElements);
    DequantizeRow(c.dtype, row.data(), out.data(), kElements);
    for (int64_t g = 0; g < kElements; g += c.group) {
      float low = 0.0f, high = 0.0f;
      for (int64_t i = g; i < g + c.group; ++i) low = std::fmin(low, in[i]), high = std::fmax(high, in[i]);
      const float range = c.symmetric ? 2 * std::fmax(-low, high) : high - low;
      const float sub_scale_steps = c.symmetric ? 127.0f : 63.0f;
      const float bound = range * (0.5f / c.steps + 1.0f / sub_scale_steps);
      for (int64_t i = g; i < g + c.group; ++i) {
        EXPECT_NEAR(out[i], in[i], bound) << GetDTypeInfo(c.dtype).name << " element " << i;
      }
    }
  }
}

TEST(QuantizeTest, ZerosStayZero) {
  const std::vector<float> zeros(256, 0.0f);
  for (uint32_t id = 0; id < 64; ++id) {
    const DTypeInfo* info = FindDType(id);
    if (info == nullptr || !CanQuantize(info->dtype)) continue;
    std::vector<std::byte> row(*RowBytes(info->dtype, 256), std::byte{0xAA});
    std::vector<float> out(256, 1.0f);
    QuantizeRow(info->dtype, zeros.data(), row.data(), 256);
    DequantizeRow(info->dtype, row.data(), out.data(), 256);
    EXPECT_EQ(out, zeros) << info->name;
  }
}

}  // namespace
}  // namespace lem
