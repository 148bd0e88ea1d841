#include "memory/kv_residency.h"

#include <bit>

#include "base/check.h"

namespace lem {

KvResidency::KvResidency(const KvBlockPool& pool, int32_t num_layers, size_t layer_bytes,
                         std::vector<DeviceMemory*> spaces)
    : pool_(pool), num_layers_(num_layers), layer_bytes_(layer_bytes), spaces_(std::move(spaces)) {
  LEM_CHECK(!spaces_.empty() && spaces_.size() <= kMaxSpaces && spaces_[0] == nullptr);
  valid_.resize(static_cast<size_t>(pool.num_blocks()) * static_cast<size_t>(num_layers));
}

void KvResidency::Forget(BlockId block) {
  for (int32_t layer = 0; layer < num_layers_; ++layer) mask(block, layer) = 0;
}

Status KvResidency::Bring(BlockId block, int32_t layer, int32_t space) {
  uint16_t& valid = mask(block, layer);
  const auto wanted = static_cast<uint16_t>(1u << space);
  if (valid == 0 || (valid & wanted) != 0) return OkStatus();
  std::byte* data =
      pool_.base() + static_cast<size_t>(block) * pool_.block_bytes() + static_cast<size_t>(layer) * layer_bytes_;
  if ((valid & 1u) == 0) {
    const auto from = static_cast<size_t>(std::countr_zero(valid));
    LEM_TRY(spaces_[from]->CopyOut(data, layer_bytes_, TransferCause::kKvCache));
    valid |= 1u;
  }
  if (space != 0) {
    LEM_TRY(spaces_[static_cast<size_t>(space)]->CopyIn(data, layer_bytes_, TransferCause::kKvCache));
    valid |= wanted;
  }
  return OkStatus();
}

void KvResidency::MarkWritten(BlockId block, int32_t layer, int32_t space) {
  mask(block, layer) = static_cast<uint16_t>(1u << space);
}

void KvResidency::DropSpace(int32_t space) {
  const auto others = static_cast<uint16_t>(~(1u << space));
  for (uint16_t& valid : valid_) valid &= others;
}

bool KvResidency::IsOnlyIn(BlockId block, int32_t layer, int32_t space) const {
  const size_t idx = static_cast<size_t>(block) * static_cast<size_t>(num_layers_) + static_cast<size_t>(layer);
  return valid_[idx] == 1u << space;
}

}  // namespace lem
