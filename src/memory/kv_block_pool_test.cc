#include "memory/kv_block_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace lem {
namespace {

TEST(KvBlockPoolTest, HandsOutEachBlockOnceAndTakesItBack) {
  auto pool = std::move(*KvBlockPool::Create(64, 5));
  std::set<BlockId> ids;
  for (int i = 0; i < 5; ++i) ids.insert(*pool->Allocate());
  EXPECT_EQ(ids.size(), 5u);
  EXPECT_EQ(pool->Allocate(), std::nullopt);
  EXPECT_EQ(pool->num_free(), 0);
  pool->Release(3);
  EXPECT_EQ(pool->Allocate(), 3);
  for (const BlockId id : ids) pool->Release(id);
  EXPECT_EQ(pool->num_used(), 0);
}

TEST(KvBlockPoolTest, SharedBlocksLiveUntilTheLastReference) {
  auto pool = std::move(*KvBlockPool::Create(64, 1));
  const BlockId id = *pool->Allocate();
  pool->AddReference(id);
  pool->Release(id);
  EXPECT_EQ(pool->num_used(), 1);
  pool->Release(id);
  EXPECT_EQ(pool->num_used(), 0);
}

TEST(KvBlockPoolTest, ReservesWithoutCommitting) {
  // 1 TiB of addresses: only possible because nothing is committed before it is touched.
  auto pool = KvBlockPool::Create(size_t{1} << 30, 1024);
  ASSERT_TRUE(pool.ok()) << pool.status().ToString();
  (*pool)->base()[(size_t{1} << 30) * 1000] = std::byte{1};
  EXPECT_EQ(KvBlockPool::Create(size_t{1} << 40, int64_t{1} << 40).status().code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace lem
