#include "device/cpu/lane_weights.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "tensor/lanes.h"

namespace lem {
namespace {

// Originals are dropped in pieces of this size while the copy grows, so that the two are never in memory together.
constexpr size_t kDropBytes = size_t{4} << 20;

}  // namespace

std::shared_ptr<const Allocation> LaneWeights::Get(const WeightTable& table, WeightHandle handle) {
  const WeightDesc& desc = table.desc(handle);
  if (!HasLanes(desc.dtype) || desc.layout != Layout::kGgufRows || table.device_data(handle) != nullptr) return nullptr;
  const std::span<const std::byte> bytes = table.host_bytes(handle);
  const std::lock_guard lock(mutex_);
  std::weak_ptr<const Allocation>& known = weights_[{bytes.data(), desc.rows}];
  if (auto weight = known.lock()) return weight;
  Result<Allocation> repacked = Repack(desc, bytes);
  if (!repacked.ok()) {
    LogWarning("weight {} is used as it is stored, which is slower: {}", desc.name, repacked.status().message());
    return nullptr;
  }
  auto weight = std::make_shared<const Allocation>(std::move(*repacked));
  known = weight;
  return weight;
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
