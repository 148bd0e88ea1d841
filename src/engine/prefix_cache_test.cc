#include "engine/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace lem {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class PrefixCacheTest : public testing::Test {
 protected:
  static constexpr int64_t kNumBlocks = 8;

  // So many tokens that differ by `seed`.
  static std::vector<int32_t> Tokens(size_t count, int32_t seed = 0) {
    std::vector<int32_t> tokens;
    tokens.reserve(count);
    for (size_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(i) + 1000 * seed);
    return tokens;
  }
  std::vector<BlockId> Allocate(size_t count) {
    std::vector<BlockId> blocks;
    blocks.reserve(count);
    for (size_t i = 0; i < count; ++i) blocks.push_back(*pool_->Allocate());
    return blocks;
  }
  void Release(const std::vector<BlockId>& blocks) {
    for (const BlockId block : blocks) pool_->Release(block);
  }
  // As a sequence that is over leaves it.
  std::vector<BlockId> Leave(const std::vector<int32_t>& tokens, const std::string& space = "a") {
    const std::vector<BlockId> blocks = Allocate(tokens.size() / 16);
    cache_.Insert(space, tokens, blocks);
    Release(blocks);
    return blocks;
  }

  std::unique_ptr<MemoryManager> memory_ = std::move(*MemoryManager::Create());
  std::unique_ptr<KvBlockPool> pool_ = std::move(*KvBlockPool::Create(*memory_, 64, kNumBlocks));
  PrefixCache cache_{*pool_};
};

TEST_F(PrefixCacheTest, GivesTheLongestKnownBeginningInWholeBlocks) {
  EXPECT_THAT(cache_.Take("a", Tokens(48)), IsEmpty());
  const std::vector<BlockId> blocks = Leave(Tokens(50));  // three blocks and two tokens
  EXPECT_EQ(pool_->num_idle(), 3);
  EXPECT_EQ(cache_.Take("a", Tokens(100)), blocks);
  EXPECT_EQ(pool_->num_idle(), 0) << "somebody uses them";
  Release(blocks);
  EXPECT_EQ(pool_->num_idle(), 3);
  const std::vector<BlockId> some = cache_.Take("a", Tokens(47));
  EXPECT_THAT(some, ElementsAre(blocks[0], blocks[1]));
  Release(some);
  std::vector<int32_t> other = Tokens(48);
  other[17] = 7;
  const std::vector<BlockId> first = cache_.Take("a", other);
  EXPECT_THAT(first, ElementsAre(blocks[0]));
  Release(first);
  EXPECT_THAT(cache_.Take("b", Tokens(48)), IsEmpty()) << "another space";
}

TEST_F(PrefixCacheTest, MissesHaveAReason) {
  const auto miss = [&](const std::vector<int32_t>& tokens, const std::string& space = "a") {
    const std::vector<BlockId> blocks = cache_.Take(space, tokens);
    Release(blocks);
    return cache_.MissOf(space, tokens, blocks.size());
  };
  EXPECT_EQ(miss(Tokens(48)), CacheMiss::kNew);
  Leave(Tokens(32));
  EXPECT_EQ(miss(Tokens(40)), CacheMiss::kNone) << "no whole block is missing";
  EXPECT_EQ(miss(Tokens(48)), CacheMiss::kNew) << "nobody went on here";
  std::vector<int32_t> other = Tokens(32);
  other[20] = 7;
  EXPECT_EQ(miss(other), CacheMiss::kDiffers);
  EXPECT_EQ(miss(Tokens(32), "b"), CacheMiss::kNew) << "another space";
  ASSERT_TRUE(cache_.EvictOne());
  EXPECT_EQ(miss(Tokens(32)), CacheMiss::kEvicted);
  EXPECT_EQ(miss(other), CacheMiss::kNew);
  ASSERT_TRUE(cache_.EvictOne());
  EXPECT_EQ(miss(Tokens(32)), CacheMiss::kEvicted);
}

TEST_F(PrefixCacheTest, WhatIsKnownIsKeptOnce) {
  const std::vector<BlockId> known = Leave(Tokens(32));
  std::vector<int32_t> longer = Tokens(48);
  longer[40] = 5;
  const std::vector<BlockId> again = Leave(longer);
  EXPECT_EQ(cache_.num_blocks(), 3);
  EXPECT_EQ(pool_->num_used(), 3) << "the double ones are free again";
  const std::vector<BlockId> taken = cache_.Take("a", longer);
  EXPECT_THAT(taken, ElementsAre(known[0], known[1], again[2]));
  Release(taken);
}

TEST_F(PrefixCacheTest, EvictsWhatWasNotUsedForLongestAndEndsFirst) {
  const std::vector<BlockId> old = Leave(Tokens(32, 1)), young = Leave(Tokens(32, 2));
  Release(cache_.Take("a", Tokens(32, 1)));  // is the younger one by now
  EXPECT_TRUE(cache_.EvictOne());
  EXPECT_THAT(cache_.Take("a", Tokens(32, 2)), ElementsAre(young[0]));
  EXPECT_TRUE(cache_.EvictOne()) << "the end of the other branch, since this one is in use";
  EXPECT_TRUE(cache_.EvictOne());
  EXPECT_FALSE(cache_.EvictOne()) << "what is left is in use";
  EXPECT_EQ(pool_->num_used(), 1);
  Release({young[0]});
  EXPECT_TRUE(cache_.EvictOne());
  EXPECT_EQ(pool_->num_used(), 0);
  EXPECT_EQ(pool_->num_idle(), 0);
  (void)old;
}

TEST_F(PrefixCacheTest, WhatIsComeBackToOutlivesWhatIsNot) {
  const std::vector<BlockId> conversation = Leave(Tokens(32, 1));
  Release(cache_.Take("a", Tokens(32, 1)));
  int num_side_calls = 0;
  while (pool_->num_free() >= 2) Leave(Tokens(32, 100 + num_side_calls++));
  for (int i = 0; i < 2 * num_side_calls; ++i) ASSERT_TRUE(cache_.EvictOne());
  EXPECT_THAT(cache_.Take("a", Tokens(32, 1)), ElementsAre(conversation[0], conversation[1]));
  Release(conversation);
}

// Blocks that are on disk are fetched when a prompt begins with them, and evicted ones can be fetched again.
TEST_F(PrefixCacheTest, WhatIsStoredIsFetched) {
  const std::vector<StoredPrefix> stored = {{"a", -1, Tokens(16)}, {"", 0, Tokens(16, 7)}, {"b", -1, Tokens(16)}};
  std::vector<int64_t> fetched;
  cache_.AddStored(stored, [&](int64_t idx) {
    fetched.push_back(idx);
    return idx == 2 ? std::nullopt : pool_->Allocate();
  });
  std::vector<int32_t> prompt = Tokens(16);
  for (const int32_t token : Tokens(16, 7)) prompt.push_back(token);
  EXPECT_EQ(cache_.CountKnown("a", prompt), 2);
  std::vector<BlockId> taken = cache_.Take("a", prompt);
  EXPECT_EQ(taken.size(), 2u);
  EXPECT_THAT(fetched, ElementsAre(0, 1));
  EXPECT_FALSE(cache_.EvictOne()) << "both are in use";
  Release(taken);
  EXPECT_EQ(pool_->num_idle(), 2);
  EXPECT_TRUE(cache_.EvictOne());
  EXPECT_TRUE(cache_.EvictOne());
  EXPECT_EQ(pool_->num_used(), 0);
  taken = cache_.Take("a", prompt);
  EXPECT_EQ(taken.size(), 2u);
  EXPECT_EQ(fetched.size(), 4u);
  const PrefixCache::Exported exported = cache_.Export(100);
  EXPECT_EQ(exported.blocks, taken);
  EXPECT_EQ(exported.prefixes[0].space, "a");
  EXPECT_EQ(exported.prefixes[1].parent, 0);
  EXPECT_EQ(cache_.Export(1).blocks.size(), 1u);
  Release(taken);
  EXPECT_THAT(cache_.Take("b", Tokens(16)), IsEmpty()) << "it cannot be had";
  EXPECT_EQ(cache_.CountKnown("b", Tokens(16)), 0);
}

// Sequences come and go at random: blocks add up at every moment, and nobody gets a block that others write to.
TEST_F(PrefixCacheTest, BlocksAddUp) {
  std::mt19937 random(1);
  struct Running {
    std::vector<int32_t> tokens;
    std::vector<BlockId> blocks;
  };
  std::vector<Running> running;
  for (int step = 0; step < 3000; ++step) {
    if (random() % 2 == 0 || running.empty()) {
      Running next;
      for (size_t block = 0, count = 1 + random() % 4; block < count; ++block) {
        const auto kind = static_cast<int32_t>(random() % 2);
        for (int i = 0; i < 16; ++i) next.tokens.push_back(kind);
      }
      const auto needed = static_cast<int64_t>(next.tokens.size() / 16);
      if (pool_->num_free() + pool_->num_idle() < needed) continue;
      next.blocks = cache_.Take("a", std::span(next.tokens).first(next.tokens.size() - 1));
      while (static_cast<int64_t>(next.blocks.size()) < needed) {
        std::optional<BlockId> block = pool_->Allocate();
        if (!block) {
          ASSERT_TRUE(cache_.EvictOne());
          block = pool_->Allocate();
        }
        ASSERT_TRUE(block.has_value());
        EXPECT_EQ(pool_->num_references(*block), 1);
        next.blocks.push_back(*block);
      }
      running.push_back(std::move(next));
    } else {
      const size_t idx = random() % running.size();
      cache_.Insert("a", running[idx].tokens, running[idx].blocks);
      Release(running[idx].blocks);
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(idx));
    }
    std::set<BlockId> in_use;
    for (const Running& r : running) in_use.insert(r.blocks.begin(), r.blocks.end());
    EXPECT_EQ(pool_->num_used() - pool_->num_idle(), static_cast<int64_t>(in_use.size()));
  }
  for (const Running& r : running) Release(r.blocks);
  cache_.Clear();
  EXPECT_EQ(pool_->num_used(), 0);
}

}  // namespace
}  // namespace lem
