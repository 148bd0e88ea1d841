// The prefix cache of an engine on disk.
#include <algorithm>

#include "base/log.h"
#include "engine/engine.h"

namespace lem {

// Of another layout of blocks, or another way to round, keys and values are of no use; the latter is part of the space.
std::string Engine::PrefixFingerprint() const {
  return fmt::format("{} layers {} heads {} width {} block {}", options_.prefix_fingerprint, model_.graph.kv.num_layers,
                     model_.graph.kv.num_kv_heads, model_.graph.kv.head_dim, kKvBlockTokens);
}

void Engine::OpenPrefixes() {
  if (options_.prefix_file.empty() || kv_residency_ != nullptr) return;
  Result<PrefixStore> store = PrefixStore::Open(options_.prefix_file, PrefixFingerprint(), kv_layout_.block_bytes);
  if (!store.ok()) {
    if (store.status().code() != StatusCode::kNotFound) LogWarning("{}", store.status().message());
    return;
  }
  prefix_store_ = std::move(*store);
  prefix_cache_->AddStored(prefix_store_->prefixes(), [this](int64_t idx) -> std::optional<BlockId> {
    const auto bytes = prefix_store_->Block(static_cast<size_t>(idx));
    if (!bytes) return std::nullopt;
    const std::optional<BlockId> block = TryNewBlock();
    if (block) {
      std::ranges::copy(*bytes, pool_->base() + static_cast<size_t>(*block) * pool_->block_bytes());
    }
    return block;
  });
}

// What is in memory; what was on disk and nobody came back to is not kept for ever.
void Engine::SavePrefixes() const {
  if (options_.prefix_file.empty() || prefix_cache_ == nullptr || kv_residency_ != nullptr) return;
  const PrefixCache::Exported exported =
      prefix_cache_->Export(static_cast<size_t>(options_.prefix_file_bytes / kv_layout_.block_bytes));
  if (exported.blocks.empty()) return;
  std::vector<std::span<const std::byte>> blocks;
  blocks.reserve(exported.blocks.size());
  for (const BlockId block : exported.blocks) {
    blocks.emplace_back(pool_->base() + static_cast<size_t>(block) * pool_->block_bytes(), kv_layout_.block_bytes);
  }
  const Status written = PrefixStore::Write(options_.prefix_file, PrefixFingerprint(), exported.prefixes, blocks);
  if (!written.ok()) LogWarning("keys and values are not kept: {}", written.message());
}

}  // namespace lem
