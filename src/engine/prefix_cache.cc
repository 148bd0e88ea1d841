#include "engine/prefix_cache.h"

#include "kernels/kernels.h"

namespace lem {
namespace {

// Tokens of block `idx`, or nothing if the block would not be full.
std::span<const int32_t> BlockOf(std::span<const int32_t> tokens, size_t idx) {
  constexpr auto kSize = static_cast<size_t>(kKvBlockTokens);
  return (idx + 1) * kSize <= tokens.size() ? tokens.subspan(idx * kSize, kSize) : std::span<const int32_t>{};
}

}  // namespace

// Only ends of branches are kept by age: what they hang on cannot be evicted before them.
void PrefixCache::Touch(Node& node) {
  if (node.children.empty()) by_age_.erase({node.last_used, &node});
  node.last_used = now_;
  if (node.children.empty()) by_age_.insert({node.last_used, &node});
}

std::vector<BlockId> PrefixCache::Take(const std::string& space, std::span<const int32_t> tokens) {
  std::vector<BlockId> blocks;
  const auto root = roots_.find(space);
  if (root == roots_.end()) return blocks;
  ++now_;
  Node* node = &root->second;
  for (size_t i = 0; !BlockOf(tokens, i).empty(); ++i) {
    const std::span<const int32_t> wanted = BlockOf(tokens, i);
    const auto child = node->children.find({wanted.begin(), wanted.end()});
    if (child == node->children.end()) break;
    node = child->second.get();
    pool_.AddReference(node->block);
    blocks.push_back(node->block);
    Touch(*node);
  }
  return blocks;
}

int64_t PrefixCache::CountKnown(const std::string& space, std::span<const int32_t> tokens) const {
  const auto root = roots_.find(space);
  if (root == roots_.end()) return 0;
  const Node* node = &root->second;
  int64_t count = 0;
  for (;; ++count) {
    const std::span<const int32_t> wanted = BlockOf(tokens, static_cast<size_t>(count));
    if (wanted.empty()) return count;
    const auto child = node->children.find({wanted.begin(), wanted.end()});
    if (child == node->children.end()) return count;
    node = child->second.get();
  }
}

void PrefixCache::Insert(const std::string& space, std::span<const int32_t> tokens, std::span<const BlockId> blocks) {
  ++now_;
  Node* node = &roots_[space];
  for (size_t i = 0; i < blocks.size() && !BlockOf(tokens, i).empty(); ++i) {
    const std::span<const int32_t> own = BlockOf(tokens, i);
    const auto [child, is_new] = node->children.try_emplace({own.begin(), own.end()});
    if (is_new) {
      // Its parent is no end any more.
      if (node->parent != nullptr) by_age_.erase({node->last_used, node});
      child->second = std::make_unique<Node>();
      Node& added = *child->second;
      added.parent = node;
      added.tokens = child->first;
      added.block = blocks[i];
      added.last_used = now_;
      by_age_.insert({now_, &added});
      pool_.AddReference(added.block);
      pool_.SetCached(added.block, true);
      ++num_blocks_;
    } else {
      Touch(*child->second);
    }
    node = child->second.get();
  }
}

bool PrefixCache::EvictOne() {
  for (auto oldest = by_age_.begin(); oldest != by_age_.end(); ++oldest) {
    Node& node = *oldest->second;
    if (pool_.num_references(node.block) > 1) continue;
    by_age_.erase(oldest);
    pool_.SetCached(node.block, false);
    pool_.Release(node.block);
    --num_blocks_;
    Node& parent = *node.parent;
    parent.children.erase(std::vector<int32_t>(node.tokens));  // the node goes with it
    if (parent.parent != nullptr && parent.children.empty()) by_age_.insert({parent.last_used, &parent});
    return true;
  }
  return false;
}

void PrefixCache::Forget(Node& root) {
  for (auto& [tokens, child] : root.children) {
    Forget(*child);
    pool_.SetCached(child->block, false);
    pool_.Release(child->block);
  }
}

void PrefixCache::Clear() {
  for (auto& [space, root] : roots_) Forget(root);
  roots_.clear();
  by_age_.clear();
  num_blocks_ = 0;
}

}  // namespace lem
