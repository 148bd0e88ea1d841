#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <limits>

namespace lem {
namespace {

TEST(DTypeTest, RowBytes) {
  EXPECT_EQ(RowBytes(DType::kF32, 3), 12u);
  EXPECT_EQ(RowBytes(DType::kQ4_1, 576), 360u);
  EXPECT_EQ(RowBytes(DType::kQ6_K, 512), 420u);
  EXPECT_EQ(RowBytes(DType::kQ4_0, 33), std::nullopt);
  EXPECT_EQ(RowBytes(DType::kF64, std::numeric_limits<uint64_t>::max()), std::nullopt);
}

TEST(DTypeTest, KnowsGgufIdsOnly) {
  ASSERT_NE(FindDType(12), nullptr);
  EXPECT_EQ(FindDType(12)->name, "Q4_K");
  EXPECT_EQ(FindDType(4), nullptr);  // removed from the format long ago
  EXPECT_EQ(FindDType(1000), nullptr);
}

}  // namespace
}  // namespace lem
