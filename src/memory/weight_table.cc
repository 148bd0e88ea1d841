#include "memory/weight_table.h"

#include "base/check.h"

namespace lem {

WeightHandle WeightTable::Add(WeightDesc desc, std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                              const std::byte* device_data) {
  LEM_CHECK(bytes.size() == static_cast<size_t>(desc.rows) * desc.row_bytes) << desc.name;
  entries_.push_back({std::move(desc), bytes, std::move(owner), device_data});
  return WeightHandle{static_cast<int32_t>(entries_.size() - 1)};
}

uint64_t WeightTable::total_bytes() const {
  uint64_t total = 0;
  for (const Entry& entry : entries_) total += entry.bytes.size();
  return total;
}

}  // namespace lem
