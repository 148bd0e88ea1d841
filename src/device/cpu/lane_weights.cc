#include "device/cpu/lane_weights.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/file.h"
#include "base/log.h"
#include "tensor/lanes.h"

namespace lem {
namespace {

// Originals are dropped in pieces of this size while the copy grows, so that the two are never in memory together.
constexpr size_t kDropBytes = size_t{4} << 20;

}  // namespace

std::vector<std::shared_ptr<const LaneMatrix>> LaneWeights::Get(const WeightTable& table,
                                                                std::span<const WeightHandle> handles) {
  using Key = decltype(weights_)::key_type;
  const auto key_of = [&](WeightHandle handle) -> Key {
    return {table.host_bytes(handle).data(), table.desc(handle).rows};
  };
  const auto may_have_lanes = [&](WeightHandle handle) {
    const WeightDesc& desc = table.desc(handle);
    return HasLanes(desc.dtype) && desc.layout == Layout::kGgufRows && table.device_data(handle) == nullptr;
  };
  const std::lock_guard lock(mutex_);
  std::map<Key, std::shared_ptr<const LaneMatrix>> found;
  std::vector<WeightHandle> missing;
  for (const WeightHandle handle : handles) {
    if (!may_have_lanes(handle)) continue;
    const auto [entry, is_new] = found.try_emplace(key_of(handle));
    if (!is_new) continue;
    if (const auto known = weights_.find(entry->first); known != weights_.end()) entry->second = known->second.lock();
    if (entry->second == nullptr) missing.push_back(handle);
  }

  std::vector<std::shared_ptr<const LaneMatrix>> made(missing.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < missing.size(); i = next++) {
      made[i] = Make(table.desc(missing[i]), table.host_bytes(missing[i]));
    }
  };
  std::vector<std::jthread> helpers;
  for (int i = 1; i < num_threads_ && static_cast<size_t>(i) < missing.size(); ++i) helpers.emplace_back(work);
  work();
  helpers.clear();  // joins

  for (size_t i = 0; i < missing.size(); ++i) {
    if (made[i] == nullptr) continue;
    weights_[key_of(missing[i])] = made[i];
    found[key_of(missing[i])] = std::move(made[i]);
  }
  std::vector<std::shared_ptr<const LaneMatrix>> matrices;
  matrices.reserve(handles.size());
  for (const WeightHandle handle : handles) {
    matrices.push_back(may_have_lanes(handle) ? found[key_of(handle)] : nullptr);
  }
  return matrices;
}

std::shared_ptr<const LaneMatrix> LaneWeights::Make(const WeightDesc& desc, std::span<const std::byte> bytes) {
  const size_t num_bytes = LaneBytes(desc.dtype, desc.rows, desc.cols);
  std::string key = cache_.KeyOf(desc, bytes);
  if (auto file = cache_.Map(key, num_bytes)) {
    if (desc.in_mapped_file) DropMappedPages(bytes);
    const std::byte* data = LaneCache::MatrixOf(*file).data();
    return std::make_shared<const LaneMatrix>(LaneMatrix{data, std::move(file)});
  }
  Result<Allocation> repacked = Repack(desc, bytes);
  if (!repacked.ok()) {
    LogWarning("weight {} is used as it is stored, which is slower: {}", desc.name, repacked.status().message());
    return nullptr;
  }
  const auto matrix = std::make_shared<const Allocation>(std::move(*repacked));
  cache_.Store(std::move(key), matrix, num_bytes);
  return std::make_shared<const LaneMatrix>(LaneMatrix{matrix->data(), matrix});
}

Result<Allocation> LaneWeights::Repack(const WeightDesc& desc, std::span<const std::byte> bytes) {
  const size_t strip_bytes = LaneStripBytes(desc.dtype, desc.cols);
  LEM_ASSIGN_OR_RETURN(Allocation lanes,
                       memory_.Allocate(MemoryUse::kWeights, LaneBytes(desc.dtype, desc.rows, desc.cols)));
  // Fewer faults and address translations; that it fails costs nothing else.
  ::madvise(lanes.data(), lanes.bytes(), MADV_HUGEPAGE);
  size_t dropped = 0;
  for (int64_t row = 0; row < desc.rows; row += kLaneRows) {
    const int64_t num_rows = std::min(kLaneRows, desc.rows - row);
    const size_t begin = static_cast<size_t>(row) * desc.row_bytes;
    PackLaneStrip(desc.dtype, bytes.data() + begin, desc.row_bytes, num_rows, desc.cols,
                  lanes.data() + static_cast<size_t>(row / kLaneRows) * strip_bytes);
    const size_t end = begin + static_cast<size_t>(num_rows) * desc.row_bytes;
    if (desc.in_mapped_file && (end - dropped >= kDropBytes || end == bytes.size())) {
      DropMappedPages(bytes.subspan(dropped, end - dropped));
      dropped = end;
    }
  }
  return lanes;
}

}  // namespace lem
