// Keys and values of prompts that were computed before, by their tokens: a tree whose nodes are full blocks, so that a
// prompt that begins as an earlier one did begins where that one ended.
//
// A cached block stays in the pool with a reference of the cache's. What no sequence uses may be evicted, the longest
// unused first and ends of branches before what they hang on; so the pool never runs out because of the cache. What was
// taken over once is kept longer: prompts that nobody comes back to do not push out a conversation. Trees of
// different spaces (numerics, tenants) share nothing. Nodes may be known whose blocks are on disk only: they are
// fetched when a prompt begins with them. Not thread-safe: the engine's thread owns it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "engine/prefix_store.h"
#include "memory/kv_block_pool.h"
#include "request/request.h"

namespace lem {

class PrefixCache {
 public:
  // A new block with the bytes of prefix `stored` of the store, with one reference; nullopt if they cannot be had.
  using Fetch = std::function<std::optional<BlockId>(int64_t stored)>;

  explicit PrefixCache(KvBlockPool& pool) : pool_(pool) {}
  ~PrefixCache() { Clear(); }
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // The blocks of the longest known beginning of `tokens`, each with a reference that is the caller's to release.
  std::vector<BlockId> Take(const std::string& space, std::span<const int32_t> tokens);
  // Why Take, which returned so many blocks just now, returned no more.
  CacheMiss MissOf(const std::string& space, std::span<const int32_t> tokens, size_t num_blocks) const;
  // How many blocks Take would return.
  int64_t CountKnown(const std::string& space, std::span<const int32_t> tokens) const;
  // Remembers what `blocks` hold: the full blocks of `tokens`, from the first position on. Blocks whose tokens are
  // known already are left to the caller.
  void Insert(const std::string& space, std::span<const int32_t> tokens, std::span<const BlockId> blocks);
  // Gives a block back to the pool. False if sequences use all of them.
  bool EvictOne();
  void Clear();

  // What a store has. REQUIRES: nothing is known yet.
  void AddStored(std::span<const StoredPrefix> prefixes, Fetch fetch);
  // The tree's blocks in memory, at most so many, parents before their children; and what they are.
  struct Exported {
    std::vector<StoredPrefix> prefixes;
    std::vector<BlockId> blocks;
  };
  Exported Export(size_t max_blocks) const;

  int64_t num_blocks() const { return num_blocks_; }

 private:
  static constexpr int32_t kNone = -1;
  struct Node {
    Node* parent = nullptr;
    std::vector<int32_t> tokens;  // of the block
    BlockId block = kNone;
    int64_t stored = kNone;    // index in the store
    int64_t num_resident = 0;  // children with blocks
    uint64_t kept_for = 0;     // a moment: the one that comes first goes first
    uint64_t path = 0;         // hash of the tokens from the root to its end
    bool was_taken = false;
    std::map<std::vector<int32_t>, std::unique_ptr<Node>> children;  // by tokens
  };

  Node& RootOf(const std::string& space);
  void Touch(Node& node);
  void GiveBlock(Node& node, BlockId block);
  bool FetchBlock(Node& node);
  void TakeBlock(Node& node);
  void Export(const Node& node, int64_t parent, size_t max_blocks, Exported& out) const;
  uint64_t KeptFor(const Node& node) const;
  void Forget(Node& root);
  void RememberEvicted(uint64_t path);

  KvBlockPool& pool_;
  std::map<std::string, Node> roots_;            // by space; they hold no block
  std::set<std::pair<uint64_t, Node*>> by_age_;  // nodes with a block whose children have none, by kept_for
  Fetch fetch_;
  uint64_t now_ = 0;  // calls so far
  // Paths that were evicted lately; a hash may be that of another path, which does no more than blame the wrong cause.
  std::unordered_set<uint64_t> evicted_;
  std::deque<uint64_t> evicted_order_;
  int64_t num_blocks_ = 0;
};

}  // namespace lem
