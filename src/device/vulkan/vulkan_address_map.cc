#include "device/vulkan/vulkan_address_map.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace lem {
namespace {

// Small enough that a pool of which little is used pins little, large enough that there are few.
constexpr size_t kWindowBytes = size_t{64} << 20;
constexpr size_t kPageBytes = 4096;

}  // namespace

VulkanAddressMap::VulkanAddressMap(VulkanContext& context, bool share, TransferLedger::Account& account)
    : context_(context), share_(share), account_(account) {
  LEM_CHECK(!share || context.memory().can_import());
}

uint64_t VulkanAddressMap::free_bytes() const {
  if (share_) return std::numeric_limits<uint64_t>::max();
  const uint64_t budget = context_.memory().use().device_budget_bytes;
  const std::lock_guard lock(mutex_);
  return budget - std::min(budget, promised_bytes_);
}

Status VulkanAddressMap::Map(const std::byte* data, size_t bytes, size_t granule) {
  // A shadow is promised whole, so that what was mapped never fails for memory later.
  if (const uint64_t free = free_bytes(); bytes > free) {
    return ResourceExhausted("{} bytes do not fit the {} bytes that are free on {}", bytes, free, context_.info().name);
  }
  Range range;
  range.bytes = bytes;
  const size_t step = std::lcm(granule, kPageBytes);
  range.window_bytes = granule >= bytes ? bytes : std::max<size_t>(1, kWindowBytes / step) * step;
  range.windows.resize((bytes + range.window_bytes - 1) / range.window_bytes);
  const std::lock_guard lock(mutex_);
  LEM_CHECK(ranges_.emplace(data, std::move(range)).second) << "mapped twice";
  promised_bytes_ += bytes;
  return OkStatus();
}

void VulkanAddressMap::Unmap(const std::byte* data) {
  const std::lock_guard lock(mutex_);
  const auto it = ranges_.find(data);
  LEM_CHECK(it != ranges_.end()) << "not mapped";
  promised_bytes_ -= it->second.bytes;
  ranges_.erase(it);
}

Result<VulkanAddressMap::Place> VulkanAddressMap::Find(const std::byte* data) {
  auto it = ranges_.upper_bound(data);
  if (it != ranges_.begin()) --it;
  const auto offset = static_cast<size_t>(data - (it == ranges_.end() ? data : it->first));
  if (it == ranges_.end() || data < it->first || offset >= it->second.bytes) {
    return NotFound("an address is not mapped to {}", context_.info().name);
  }
  Range& range = it->second;
  const size_t window_idx = offset / range.window_bytes;
  const size_t begin = window_idx * range.window_bytes;
  const size_t bytes = std::min(range.window_bytes, range.bytes - begin);
  VulkanBuffer& window = range.windows[window_idx];
  if (!window.valid()) {
    // The range is the caller's to write to; the map only takes addresses of it as const.
    auto* host = const_cast<std::byte*>(it->first) + begin;
    LEM_ASSIGN_OR_RETURN(window, share_ ? context_.memory().Import({host, bytes})
                                        : context_.memory().Allocate(VulkanMemoryKind::kDevice, bytes));
  }
  return Place{&window, offset - begin, bytes - (offset - begin)};
}

Result<DeviceAddress> VulkanAddressMap::Resolve(const std::byte* data) {
  const std::lock_guard lock(mutex_);
  LEM_ASSIGN_OR_RETURN(const Place place, Find(data));
  return place.window->address() + place.offset;
}

Status VulkanAddressMap::CopyIn(const std::byte* data, size_t bytes, TransferCause cause) {
  const std::lock_guard lock(mutex_);
  LEM_ASSIGN_OR_RETURN(const Place place, Find(data));
  LEM_CHECK(bytes <= place.contiguous);
  LEM_TRY(context_.Write(*place.window, place.offset, {data, bytes}));
  account_.Add(TransferDirection::kToDevice, cause, bytes);
  return OkStatus();
}

Status VulkanAddressMap::CopyOut(std::byte* data, size_t bytes, TransferCause cause) {
  const std::lock_guard lock(mutex_);
  LEM_ASSIGN_OR_RETURN(const Place place, Find(data));
  LEM_CHECK(bytes <= place.contiguous);
  LEM_TRY(context_.Read(*place.window, place.offset, {data, bytes}));
  account_.Add(TransferDirection::kToHost, cause, bytes);
  return OkStatus();
}

}  // namespace lem
