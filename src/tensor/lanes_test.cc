#include "tensor/lanes.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace lem {
namespace {

constexpr DType kTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                            DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

// Every bit of a block is kept: random bytes come back as they were, for full and ragged strips and odd numbers of
// blocks.
TEST(LanesTest, RowsComeBack) {
  std::mt19937 rng(1);
  for (const DType dtype : kTypes) {
    const auto block = static_cast<int64_t>(GetDTypeInfo(dtype).block_elements);
    for (const int64_t blocks : {1, 2, 3, 5}) {
      for (const int64_t num_rows : {1, 7, 16}) {
        const int64_t k = blocks * block;
        const size_t row_bytes = *RowBytes(dtype, static_cast<uint64_t>(k));
        const size_t stride = row_bytes + 3;  // rows may lie at any address
        std::vector<std::byte> rows(stride * static_cast<size_t>(num_rows));
        for (std::byte& b : rows) b = static_cast<std::byte>(rng());
        std::vector<std::byte> strip(LaneStripBytes(dtype, k), std::byte{0xEE});
        PackLaneStrip(dtype, rows.data(), stride, num_rows, k, strip.data());
        for (int64_t r = 0; r < kLaneRows; ++r) {
          std::vector<std::byte> back(row_bytes);
          UnpackLaneRow(dtype, strip.data(), r, k, back.data());
          if (r < num_rows) {
            EXPECT_EQ(std::memcmp(back.data(), rows.data() + stride * static_cast<size_t>(r), row_bytes), 0)
                << GetDTypeInfo(dtype).name << " row " << r << " of " << num_rows << ", " << blocks << " blocks";
          }
        }
      }
    }
  }
}

// The lines of a group as lanes.h draws them, for a type of each plane.
TEST(LanesTest, PlanesAreWhereTheHeaderSays) {
  // Q4_0: element 5 of row 3 is 9: line 1 (l = 1), byte 4 * 3 + 1, low nibble. Element 21: high nibble of the same.
  std::vector<std::byte> rows(size_t{16} * 18);
  rows[3 * 18 + 2 + 5] = std::byte{0xC9};
  std::vector<std::byte> strip(LaneStripBytes(DType::kQ4_0, 32));
  PackLaneStrip(DType::kQ4_0, rows.data(), 18, 16, 32, strip.data());
  EXPECT_EQ(strip[64 + 64 * 1 + 13], std::byte{0xC9});

  // Q8_0: element 30 of row 15 is -3: line 7, byte 4 * 15 + 2, with the sign turned.
  rows.assign(size_t{16} * 34, std::byte{});
  rows[15 * 34 + 2 + 30] = static_cast<std::byte>(-3);
  strip.assign(LaneStripBytes(DType::kQ8_0, 32), std::byte{});
  PackLaneStrip(DType::kQ8_0, rows.data(), 34, 16, 32, strip.data());
  EXPECT_EQ(strip[64 + 64 * 7 + 62], std::byte{125});

  // Q5_0: bit 4 of element 6 of row 0: line 4 of the group, byte 2, bit 1.
  rows.assign(size_t{16} * 22, std::byte{});
  rows[2] = std::byte{1 << 6};
  strip.assign(LaneStripBytes(DType::kQ5_0, 32), std::byte{});
  PackLaneStrip(DType::kQ5_0, rows.data(), 22, 16, 32, strip.data());
  EXPECT_EQ(strip[64 + 64 * 4 + 2], std::byte{1 << 1});
}

TEST(LanesTest, SizesAreNearThoseOfTheFile) {
  for (const DType dtype : kTypes) {
    const size_t file = 16 * *RowBytes(dtype, 2048);
    EXPECT_GE(LaneStripBytes(dtype, 2048), file) << GetDTypeInfo(dtype).name;
    EXPECT_LE(LaneStripBytes(dtype, 2048), file + file / 16) << GetDTypeInfo(dtype).name;
    EXPECT_EQ(LaneBytes(dtype, 17, 256), 2 * LaneStripBytes(dtype, 256));
    EXPECT_EQ(LaneStripBytes(dtype, 256) % 64, 0u) << "lines must not be split";
  }
  EXPECT_FALSE(HasLanes(DType::kF16));
}

}  // namespace
}  // namespace lem
