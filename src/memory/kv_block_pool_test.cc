#include "memory/kv_block_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace lem {
namespace {

TEST(KvBlockPoolTest, HandsOutEachBlockOnceAndTakesItBack) {
  const auto memory = std::move(*MemoryManager::Create());
  auto pool = std::move(*KvBlockPool::Create(*memory, 64, 5));
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
  const auto memory = std::move(*MemoryManager::Create());
  auto pool = std::move(*KvBlockPool::Create(*memory, 64, 1));
  const BlockId id = *pool->Allocate();
  pool->AddReference(id);
  pool->Release(id);
  EXPECT_EQ(pool->num_used(), 1);
  pool->Release(id);
  EXPECT_EQ(pool->num_used(), 0);
}

TEST(KvBlockPoolTest, ReservesWithoutCommitting) {
  // 256 GiB of addresses: only possible because nothing is committed before it is touched.
  const auto memory = std::move(*MemoryManager::Create());
  auto pool = KvBlockPool::Create(*memory, size_t{1} << 30, 256);
  ASSERT_TRUE(pool.ok()) << pool.status().ToString();
  (*pool)->base()[(size_t{1} << 30) * 200] = std::byte{1};
  EXPECT_EQ(KvBlockPool::Create(*memory, size_t{1} << 40, int64_t{1} << 40).status().code(),
            StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace lem
