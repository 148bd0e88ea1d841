#include "device/npu/npu_weight_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace lem {
namespace {

namespace fs = std::filesystem;

class NpuWeightCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("lem-npu-weight-cache-test-{}", ::getpid());
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::vector<std::byte> Bytes(size_t count, int seed) {
    std::vector<std::byte> bytes(count);
    for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 31 + static_cast<size_t>(seed));
    return bytes;
  }
  size_t NumFiles() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

TEST_F(NpuWeightCacheTest, GivesBackWhatWasStored) {
  NpuWeightCache cache(folder_);
  const std::vector<std::byte> stored = Bytes(1000, 1);
  std::vector<std::byte> out(1000);
  EXPECT_FALSE(cache.Load("key", out));
  cache.Store("key", stored);
  EXPECT_TRUE(NpuWeightCache(folder_).Load("key", out));
  EXPECT_EQ(out, stored);
  EXPECT_EQ(NumFiles(), 1u) << "nothing half written stays";
  std::vector<std::byte> longer(1001);
  EXPECT_FALSE(cache.Load("key", longer));
}

TEST_F(NpuWeightCacheTest, DamagedFilesAreNotUsed) {
  NpuWeightCache cache(folder_);
  std::vector<std::byte> out(1000);
  for (const std::streamoff at : {0, 63, 64, 1063}) {
    cache.Store("key", Bytes(1000, 1));
    ASSERT_TRUE(cache.Load("key", out));
    std::fstream file(folder_ / "key.npuw", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.put('!');
    file.close();
    EXPECT_FALSE(cache.Load("key", out)) << at;
  }
  fs::resize_file(folder_ / "key.npuw", 500);
  EXPECT_FALSE(cache.Load("key", out));
}

TEST_F(NpuWeightCacheTest, KeysNameAllThatDecides) {
  WeightDesc desc;
  desc.dtype = DType::kQ8_0;
  desc.rows = 2;
  desc.cols = 32;
  const std::vector<std::byte> bytes = Bytes(68, 3);
  const std::string key = NpuWeightCache::KeyOf(desc, bytes, NpuPrecision::kInt8, 32);
  EXPECT_EQ(key, NpuWeightCache::KeyOf(desc, bytes, NpuPrecision::kInt8, 32));
  EXPECT_NE(key, NpuWeightCache::KeyOf(desc, bytes, NpuPrecision::kBf16, 32));
  EXPECT_NE(key, NpuWeightCache::KeyOf(desc, bytes, NpuPrecision::kInt8, 64));
  EXPECT_NE(key, NpuWeightCache::KeyOf(desc, Bytes(68, 4), NpuPrecision::kInt8, 32));
  desc.rows = 1;
  EXPECT_NE(key, NpuWeightCache::KeyOf(desc, bytes, NpuPrecision::kInt8, 32));
}

TEST_F(NpuWeightCacheTest, WhatWasUsedLongestAgoGoes) {
  NpuWeightCache cache(folder_, 3000);
  std::vector<std::byte> out(1000);
  const auto age = [&](const char* name, int hours) {
    fs::last_write_time(folder_ / name, fs::file_time_type::clock::now() - std::chrono::hours(hours));
  };
  cache.Store("a", Bytes(1000, 1));
  cache.Store("b", Bytes(1000, 2));
  age("a.npuw", 2);
  age("b.npuw", 1);
  EXPECT_TRUE(cache.Load("a", out));
  cache.Store("c", Bytes(1000, 3));
  EXPECT_TRUE(cache.Load("a", out));
  EXPECT_FALSE(cache.Load("b", out));
  EXPECT_TRUE(cache.Load("c", out));
}

TEST_F(NpuWeightCacheTest, AFolderThatCannotBeMadeIsNoError) {
  std::ofstream(folder_) << "a file";
  NpuWeightCache cache(folder_ / "below");
  cache.Store("key", Bytes(10, 1));
  std::vector<std::byte> out(10);
  EXPECT_FALSE(cache.Load("key", out));
  fs::remove(folder_);
}

}  // namespace
}  // namespace lem
