#include "tensor/dequantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "tensor/quants_test_data.h"

namespace lem {
namespace {

TEST(DequantizeTest, GivesTheBitsOfTheGgufPackage) {
  const std::vector<QuantsCase> cases = ReadQuantsCases("dequantize");
  ASSERT_EQ(cases.size(), 12u);  // every weight type but F32
  for (const QuantsCase& c : cases) {
    const auto k = static_cast<int64_t>(c.values.size());
    ASSERT_EQ(RowBytes(c.dtype, c.values.size()), c.bytes.size()) << c.type;
    std::vector<float> out(c.values.size());
    DequantizeRow(c.dtype, c.bytes.data(), out.data(), k);
    for (int64_t i = 0; i < k; ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(c.values[i])) << c.type << " element " << i;
    }
  }
}

TEST(DequantizeTest, RowMayHaveAnyAddress) {
  for (const QuantsCase& c : ReadQuantsCases("dequantize")) {
    std::vector<std::byte> shifted(c.bytes.size() + 1);
    std::copy(c.bytes.begin(), c.bytes.end(), shifted.begin() + 1);
    std::vector<float> out(c.values.size());
    DequantizeRow(c.dtype, shifted.data() + 1, out.data(), static_cast<int64_t>(out.size()));
    EXPECT_EQ(out, c.values) << c.type;
  }
}

TEST(DequantizeTest, F32IsCopied) {
  const std::vector<float> in = {1.5f, -0.0f, 3e38f};
  std::vector<float> out(3);
  DequantizeRow(DType::kF32, reinterpret_cast<const std::byte*>(in.data()), out.data(), 3);
  EXPECT_EQ(out, in);
}

TEST(DequantizeDeathTest, RefusesWhatIsNoWholeRowOfWeights) {
  std::byte row[64] = {};
  float out[64];
  EXPECT_DEATH(DequantizeRow(DType::kQ4_0, row, out, 33), "kElements");
  EXPECT_DEATH(DequantizeRow(DType::kI32, row, out, 1), "not a weight type: I32");
}

}  // namespace
}  // namespace lem
