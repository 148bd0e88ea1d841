// Repacked weights on disk: found again as they were, made anew when anything is wrong with them.
#include "device/cpu/lane_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>

#include "device/cpu/lane_weights.h"
#include "tensor/lanes.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

class LaneCacheTest : public testing::Test {
 protected:
  LaneCacheTest() {
    folder_ = fs::temp_directory_path() / ("lem-lanes-" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    std::mt19937 rng(1);
    for (size_t i = 0; i < 3; ++i) {
      std::vector<std::byte>& bytes = bytes_[i];
      bytes.resize(desc_.row_bytes * static_cast<size_t>(desc_.rows));
      for (std::byte& b : bytes) b = static_cast<std::byte>(rng());
      desc_.name = "w" + std::to_string(i);
      handles_.push_back(table_.Add(desc_, bytes, nullptr));
    }
  }
  ~LaneCacheTest() override { fs::remove_all(folder_); }

  std::vector<fs::path> Files() const {
    std::vector<fs::path> files;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_, error)) files.push_back(entry.path());
    return files;
  }
  // What the kernels see of all weights, from a start of its own, and the memory that it took.
  std::vector<std::vector<std::byte>> Load(uint64_t* allocated = nullptr) {
    const auto memory = std::move(*MemoryManager::Create());
    LaneWeights weights(*memory, 2, folder_);
    std::vector<std::vector<std::byte>> seen;
    const auto matrices = weights.Get(table_, handles_);
    seen.reserve(matrices.size());
    for (const auto& matrix : matrices) {
      seen.emplace_back(matrix->data, matrix->data + LaneBytes(desc_.dtype, desc_.rows, desc_.cols));
    }
    if (allocated != nullptr) *allocated = memory->used_bytes(MemoryUse::kWeights);
    weights.cache().Flush();
    return seen;
  }

  fs::path folder_;
  WeightDesc desc_{.name = "",
                   .dtype = DType::kQ4_K,
                   .rows = 40,
                   .cols = 512,
                   .row_bytes = *RowBytes(DType::kQ4_K, 512),
                   .source = "file 1"};
  std::array<std::vector<std::byte>, 3> bytes_;
  WeightTable table_;
  std::vector<WeightHandle> handles_;
};

TEST_F(LaneCacheTest, SecondStartMapsWhatTheFirstRepacked) {
  uint64_t first_bytes = 0, second_bytes = 1;
  const auto first = Load(&first_bytes);
  EXPECT_EQ(Files().size(), 3u);
  const auto second = Load(&second_bytes);
  EXPECT_EQ(first, second);
  EXPECT_GT(first_bytes, 0u);
  EXPECT_EQ(second_bytes, 0u);  // no copy
}

TEST_F(LaneCacheTest, DamagedFilesAreMadeAnew) {
  const auto want = Load();
  const std::vector<fs::path> files = Files();
  ASSERT_EQ(files.size(), 3u);
  const auto size = static_cast<std::streamoff>(fs::file_size(files[0]));
  for (const std::streamoff at : {std::streamoff{3}, std::streamoff{20}, std::streamoff{4096}, size - 1}) {
    std::fstream file(files[0], std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const auto byte = static_cast<char>(file.get() ^ 0x40);
    file.seekp(at);
    file.put(byte);
    file.close();
    uint64_t allocated = 0;
    EXPECT_EQ(Load(&allocated), want) << at;
    EXPECT_GT(allocated, 0u) << at;
    Load(&allocated);
    EXPECT_EQ(allocated, 0u) << at;  // it was written anew
  }
  fs::resize_file(files[1], 5000);
  fs::resize_file(files[2], 0);
  EXPECT_EQ(Load(), want);
}

TEST_F(LaneCacheTest, AnotherFileOrOtherBytesAreAnotherKey) {
  const LaneCache cache(folder_);
  const std::string key = cache.KeyOf(desc_, bytes_[0]);
  EXPECT_EQ(key.size(), 64u);
  EXPECT_EQ(key, cache.KeyOf(desc_, bytes_[0]));
  EXPECT_NE(key, cache.KeyOf(desc_, bytes_[1]));
  std::vector<std::byte> changed = bytes_[0];
  changed.back() ^= std::byte{1};
  EXPECT_NE(key, cache.KeyOf(desc_, changed));
  WeightDesc other = desc_;
  other.source = "file 2";
  EXPECT_NE(key, cache.KeyOf(other, bytes_[0]));
  other.source = "";  // in memory only
  EXPECT_EQ(cache.KeyOf(other, bytes_[0]), "");
  EXPECT_EQ(LaneCache(fs::path()).KeyOf(desc_, bytes_[0]), "");
}

TEST_F(LaneCacheTest, TheFolderIsBounded) {
  const size_t matrix_bytes = LaneBytes(desc_.dtype, desc_.rows, desc_.cols);
  const auto memory = std::move(*MemoryManager::Create());
  LaneCache cache(folder_, 2 * (matrix_bytes + 4096) + 10);
  for (size_t i = 0; i < 3; ++i) {
    auto matrix = std::make_shared<const Allocation>(std::move(*memory->Allocate(MemoryUse::kWeights, matrix_bytes)));
    cache.Store(cache.KeyOf(table_.desc(handles_[i]), bytes_[i]), std::move(matrix), matrix_bytes);
    cache.Flush();
  }
  EXPECT_EQ(Files().size(), 2u);
}

// A folder that cannot be written to costs nothing but the repacking.
TEST_F(LaneCacheTest, WorksWithoutItsFolder) {
  const auto want = Load();
  fs::remove_all(folder_);
  std::ofstream(folder_) << "a file in its place";
  EXPECT_EQ(Load(), want);
}

}  // namespace
}  // namespace lem
