#include "engine/prefix_cache.h"

#include "base/hash.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

// A block that was taken over counts as used so many calls later than it was.
constexpr uint64_t kReuseBonus = 256;

// Tokens of block `idx`, or nothing if the block would not be full.
std::span<const int32_t> BlockOf(std::span<const int32_t> tokens, size_t idx) {
  constexpr auto kSize = static_cast<size_t>(kKvBlockTokens);
  return (idx + 1) * kSize <= tokens.size() ? tokens.subspan(idx * kSize, kSize) : std::span<const int32_t>{};
}

constexpr size_t kMaxEvicted = 1 << 16;

uint64_t PathOf(uint64_t parent, std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) parent = HashWord(parent, static_cast<uint32_t>(token));
  return parent;
}

}  // namespace

// Only ends of branches are kept by age: what they hang on cannot be evicted before them.
void PrefixCache::Touch(Node& node) {
  if (node.num_resident == 0) by_age_.erase({node.kept_for, &node});
  node.kept_for = KeptFor(node);
  if (node.num_resident == 0) by_age_.insert({node.kept_for, &node});
}

uint64_t PrefixCache::KeptFor(const Node& node) const { return now_ + (node.was_taken ? kReuseBonus : 0); }

// REQUIRES: it has none, and its parent has one or is a root. One reference to the block is the cache's from now on.
void PrefixCache::GiveBlock(Node& node, BlockId block) {
  node.block = block;
  pool_.SetCached(block, true);
  ++num_blocks_;
  node.kept_for = KeptFor(node);
  by_age_.insert({node.kept_for, &node});
  Node& parent = *node.parent;
  if (parent.num_resident++ == 0 && parent.parent != nullptr) by_age_.erase({parent.kept_for, &parent});
}

// REQUIRES: it has one, and its children have none.
void PrefixCache::TakeBlock(Node& node) {
  by_age_.erase({node.kept_for, &node});
  pool_.SetCached(node.block, false);
  pool_.Release(node.block);
  node.block = kNone;
  --num_blocks_;
  Node& parent = *node.parent;
  if (--parent.num_resident == 0 && parent.parent != nullptr) by_age_.insert({parent.kept_for, &parent});
}

bool PrefixCache::FetchBlock(Node& node) {
  if (node.stored == kNone) return false;
  const std::optional<BlockId> block = fetch_(node.stored);
  if (!block) {
    node.stored = kNone;  // damaged
    return false;
  }
  GiveBlock(node, *block);
  return true;
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
    // The path so far is referenced, so fetching, which may evict, leaves it alone.
    if (child->second->block == kNone && !FetchBlock(*child->second)) break;
    node = child->second.get();
    pool_.AddReference(node->block);
    blocks.push_back(node->block);
    node->was_taken = true;
    Touch(*node);
  }
  return blocks;
}

CacheMiss PrefixCache::MissOf(const std::string& space, std::span<const int32_t> tokens, size_t num_blocks) const {
  const std::span<const int32_t> missing = BlockOf(tokens, num_blocks);
  if (missing.empty()) return CacheMiss::kNone;
  const auto root = roots_.find(space);
  if (root == roots_.end()) return CacheMiss::kNew;
  const Node* node = &root->second;
  for (size_t i = 0; i < num_blocks; ++i) {
    const std::span<const int32_t> own = BlockOf(tokens, i);
    node = node->children.at({own.begin(), own.end()}).get();
  }
  if (evicted_.contains(PathOf(node->path, missing))) return CacheMiss::kEvicted;
  return node->parent == nullptr || node->children.empty() ? CacheMiss::kNew : CacheMiss::kDiffers;
}

void PrefixCache::RememberEvicted(uint64_t path) {
  if (!evicted_.insert(path).second) return;
  evicted_order_.push_back(path);
  if (evicted_order_.size() <= kMaxEvicted) return;
  evicted_.erase(evicted_order_.front());
  evicted_order_.pop_front();
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
    if (node->block == kNone && node->stored == kNone) return count;
  }
}

// Different spaces are told apart by where their paths begin.
PrefixCache::Node& PrefixCache::RootOf(const std::string& space) {
  const auto [root, is_new] = roots_.try_emplace(space);
  if (is_new) root->second.path = std::hash<std::string>()(space);
  return root->second;
}

void PrefixCache::Insert(const std::string& space, std::span<const int32_t> tokens, std::span<const BlockId> blocks) {
  ++now_;
  Node* node = &RootOf(space);
  for (size_t i = 0; i < blocks.size() && !BlockOf(tokens, i).empty(); ++i) {
    const std::span<const int32_t> own = BlockOf(tokens, i);
    const auto [child, is_new] = node->children.try_emplace({own.begin(), own.end()});
    if (is_new) {
      child->second = std::make_unique<Node>();
      child->second->parent = node;
      child->second->tokens = child->first;
      child->second->path = PathOf(node->path, own);
    }
    if (child->second->block == kNone) {
      pool_.AddReference(blocks[i]);
      GiveBlock(*child->second, blocks[i]);
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
    TakeBlock(node);
    RememberEvicted(node.path);
    // What is on disk stays known; below what is not, nothing can be reached any more.
    if (node.stored == kNone) node.parent->children.erase(std::vector<int32_t>(node.tokens));  // the node goes with it
    return true;
  }
  return false;
}

void PrefixCache::AddStored(std::span<const StoredPrefix> prefixes, Fetch fetch) {
  fetch_ = std::move(fetch);
  std::vector<Node*> nodes;
  nodes.reserve(prefixes.size());
  for (const StoredPrefix& prefix : prefixes) {
    Node& parent = prefix.parent == -1 ? RootOf(prefix.space) : *nodes[static_cast<size_t>(prefix.parent)];
    std::unique_ptr<Node>& child = parent.children[prefix.tokens];
    if (child == nullptr) child = std::make_unique<Node>();
    child->parent = &parent;
    child->tokens = prefix.tokens;
    child->path = PathOf(parent.path, prefix.tokens);
    child->stored = static_cast<int64_t>(nodes.size());
    nodes.push_back(child.get());
  }
}

void PrefixCache::Export(const Node& node, int64_t parent, size_t max_blocks, Exported& out) const {
  for (const auto& [tokens, child] : node.children) {
    if (child->block == kNone || out.blocks.size() >= max_blocks) continue;
    const auto idx = static_cast<int64_t>(out.blocks.size());
    out.prefixes.push_back({.parent = parent, .tokens = tokens});
    out.blocks.push_back(child->block);
    Export(*child, idx, max_blocks, out);
  }
}

PrefixCache::Exported PrefixCache::Export(size_t max_blocks) const {
  Exported out;
  for (const auto& [space, root] : roots_) {
    const size_t first = out.prefixes.size();
    Export(root, -1, max_blocks, out);
    for (size_t i = first; i < out.prefixes.size(); ++i) {
      if (out.prefixes[i].parent == -1) out.prefixes[i].space = space;
    }
  }
  return out;
}

void PrefixCache::Forget(Node& root) {
  for (auto& [tokens, child] : root.children) {
    Forget(*child);
    if (child->block == kNone) continue;
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
