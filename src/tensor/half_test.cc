#include "tensor/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lem {
namespace {

TEST(HalfTest, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const float value = HalfToFloat(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value)))) << bits;
    } else {
      EXPECT_EQ(FloatToHalf(value), bits);
    }
  }
}

TEST(HalfTest, KnownValues) {
  EXPECT_EQ(HalfToFloat(0x3C00), 1.0f);
  EXPECT_EQ(HalfToFloat(0xC000), -2.0f);
  EXPECT_EQ(HalfToFloat(0x7BFF), 65504.0f);
  EXPECT_EQ(HalfToFloat(0x0001), 0x1p-24f);
  EXPECT_EQ(HalfToFloat(0x03FF), 0x1.FF8p-15f);
  EXPECT_EQ(HalfToFloat(0xFC00), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::signbit(HalfToFloat(0x8000)));
}

// Between each pair of neighbours: below the middle goes down, above goes up, the middle to the even one.
TEST(HalfTest, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const float low = HalfToFloat(static_cast<uint16_t>(bits)), high = HalfToFloat(static_cast<uint16_t>(bits + 1));
    const float middle = (low + high) / 2;  // exact
    ASSERT_EQ(FloatToHalf(middle), bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(FloatToHalf(std::nextafterf(middle, 0.0f)), bits);
    ASSERT_EQ(FloatToHalf(std::nextafterf(middle, INFINITY)), bits + 1);
    ASSERT_EQ(FloatToHalf(-middle), FloatToHalf(middle) | 0x8000);
  }
  EXPECT_EQ(FloatToHalf(65519.996f), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7C00);
  EXPECT_EQ(FloatToHalf(-1e30f), 0xFC00);
  EXPECT_EQ(FloatToHalf(1e-30f), 0);
}

TEST(HalfTest, Bfloat16RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7F7F; ++bits) {
    const float low = Bfloat16ToFloat(static_cast<uint16_t>(bits));
    const float middle = std::bit_cast<float>(std::bit_cast<uint32_t>(low) + 0x8000u);
    ASSERT_EQ(FloatToBfloat16(low), bits);
    ASSERT_EQ(FloatToBfloat16(middle), bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(FloatToBfloat16(std::nextafterf(middle, 0.0f)), bits);
    ASSERT_EQ(FloatToBfloat16(-std::nextafterf(middle, INFINITY)), (bits + 1) | 0x8000);
  }
  EXPECT_EQ(FloatToBfloat16(INFINITY), 0x7F80);
  EXPECT_TRUE(std::isnan(Bfloat16ToFloat(FloatToBfloat16(std::bit_cast<float>(0x7F800001u)))));
}

}  // namespace
}  // namespace lem
