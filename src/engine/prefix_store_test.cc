#include "engine/prefix_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace lem {
namespace {

namespace fs = std::filesystem;

class PrefixStoreTest : public testing::Test {
 protected:
  void TearDown() override { fs::remove_all(path_.parent_path()); }

  static constexpr size_t kBlockBytes = 100;
  void WriteThree() const {
    std::vector<std::byte> bytes(3 * kBlockBytes);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
    const std::vector<StoredPrefix> prefixes = {{"space", -1, {1, 2}}, {"", 0, {3, 4}}, {"other", -1, {1, 2}}};
    const std::span<const std::byte> all(bytes);
    const std::vector<std::span<const std::byte>> blocks = {
        all.first(kBlockBytes), all.subspan(kBlockBytes, kBlockBytes), all.last(kBlockBytes)};
    const Status written = PrefixStore::Write(path_, "model", prefixes, blocks);
    EXPECT_TRUE(written.ok()) << written.ToString();
  }

  const fs::path path_ = fs::temp_directory_path() / fmt::format("lem-prefixes-{}", ::getpid()) / "model.kv";
};

TEST_F(PrefixStoreTest, ComesBackAsItWas) {
  WriteThree();
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms::owner_read | fs::perms::owner_write)
      << "it tells what was asked";
  const auto store = PrefixStore::Open(path_, "model", kBlockBytes);
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  ASSERT_EQ(store->prefixes().size(), 3u);
  EXPECT_EQ(store->prefixes()[1].parent, 0);
  EXPECT_EQ(store->prefixes()[1].tokens, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(store->prefixes()[2].space, "other");
  for (size_t i = 0; i < 3; ++i) {
    const auto block = store->Block(i);
    ASSERT_TRUE(block.has_value());
    EXPECT_EQ((*block)[5], static_cast<std::byte>((i * kBlockBytes + 5) * 7));
  }
}

TEST_F(PrefixStoreTest, OfSomethingElseCountsAsNone) {
  EXPECT_EQ(PrefixStore::Open(path_, "model", kBlockBytes).status().code(), StatusCode::kNotFound);
  WriteThree();
  EXPECT_EQ(PrefixStore::Open(path_, "other", kBlockBytes).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(PrefixStore::Open(path_, "model", kBlockBytes + 1).status().code(), StatusCode::kFailedPrecondition);
}

// Whichever byte is damaged or missing: nothing crashes, and no wrong block comes out.
TEST_F(PrefixStoreTest, DamageIsFound) {
  WriteThree();
  std::string whole;
  {
    std::ifstream in(path_, std::ios::binary);
    whole.assign(std::istreambuf_iterator<char>(in), {});
  }
  const auto try_out = [&](const std::string& content) {
    {
      std::ofstream out(path_, std::ios::binary | std::ios::trunc);
      out << content;
    }
    const auto store = PrefixStore::Open(path_, "model", kBlockBytes);
    if (!store.ok()) return false;
    size_t num_good = 0;
    for (size_t i = 0; i < store->prefixes().size(); ++i) num_good += store->Block(i).has_value() ? 1 : 0;
    return num_good == 3;
  };
  EXPECT_TRUE(try_out(whole));
  for (size_t i = 0; i < 260; ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x41);
    // Padding between index and blocks says nothing.
    const auto zeros = std::string(damaged.size() - 3 * kBlockBytes - i, '\0');
    if (whole.compare(i, zeros.size(), zeros) == 0) break;
    EXPECT_FALSE(try_out(damaged)) << "byte " << i;
  }
  for (size_t i = 1; i <= 3 * kBlockBytes; i += 17) {
    std::string damaged = whole;
    damaged[whole.size() - i] = static_cast<char>(damaged[whole.size() - i] ^ 1);
    EXPECT_FALSE(try_out(damaged)) << i << " from the end";
    EXPECT_FALSE(try_out(whole.substr(0, whole.size() - i)));
  }
  for (size_t size = 0; size < 300; size += 13) EXPECT_FALSE(try_out(whole.substr(0, size)));
}

}  // namespace
}  // namespace lem
