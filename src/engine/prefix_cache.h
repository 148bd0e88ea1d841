// Keys and values of prompts that were computed before, by their tokens: a tree whose nodes are full blocks, so that a
// prompt that begins as an earlier one did begins where that one ended.
//
// A cached block stays in the pool with a reference of the cache's. What no sequence uses may be evicted, the longest
// unused first and ends of branches before what they hang on; so the pool never runs out because of the cache. Trees of
// different spaces (numerics, tenants) share nothing. Not thread-safe: the engine's thread owns it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "memory/kv_block_pool.h"

namespace lem {

class PrefixCache {
 public:
  explicit PrefixCache(KvBlockPool& pool) : pool_(pool) {}
  ~PrefixCache() { Clear(); }
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // The blocks of the longest known beginning of `tokens`, each with a reference that is the caller's to release.
  std::vector<BlockId> Take(const std::string& space, std::span<const int32_t> tokens);
  // How many blocks Take would return.
  int64_t CountKnown(const std::string& space, std::span<const int32_t> tokens) const;
  // Remembers what `blocks` hold: the full blocks of `tokens`, from the first position on. Blocks whose tokens are
  // known already are left to the caller.
  void Insert(const std::string& space, std::span<const int32_t> tokens, std::span<const BlockId> blocks);
  // Gives a block back to the pool. False if sequences use all of them.
  bool EvictOne();
  void Clear();

  int64_t num_blocks() const { return num_blocks_; }

 private:
  struct Node {
    Node* parent = nullptr;
    std::vector<int32_t> tokens;  // of the block
    BlockId block = 0;
    uint64_t last_used = 0;
    std::map<std::vector<int32_t>, std::unique_ptr<Node>> children;  // by tokens
  };

  void Touch(Node& node);
  void Forget(Node& root);

  KvBlockPool& pool_;
  std::map<std::string, Node> roots_;            // by space; they hold no block
  std::set<std::pair<uint64_t, Node*>> by_age_;  // nodes without children, by last use
  uint64_t now_ = 0;
  int64_t num_blocks_ = 0;
};

}  // namespace lem
