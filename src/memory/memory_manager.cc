#include "memory/memory_manager.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/checked_math.h"

namespace lem {
namespace {

// The page size of every driver's import: allocations begin and end on it.
constexpr size_t kGranule = 4096;
// Containers may limit a process's addresses; less than this is of no use.
constexpr size_t kMinAddressBytes = size_t{1} << 33;

}  // namespace

std::string_view MemoryUseName(MemoryUse use) {
  switch (use) {
    case MemoryUse::kWeights:
      return "weights";
    case MemoryUse::kKvCache:
      return "kv_cache";
    case MemoryUse::kActivations:
      return "activations";
  }
  return "unknown";
}

Allocation& Allocation::operator=(Allocation&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  manager_ = std::exchange(other.manager_, nullptr);
  data_ = std::exchange(other.data_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  use_ = other.use_;
  mapped_ = std::move(other.mapped_);
  other.mapped_.clear();
  return *this;
}

Status Allocation::MapTo(DeviceMemory& device, size_t granule) {
  LEM_TRY(device.Map(data_, bytes_, granule));
  mapped_.push_back(&device);
  return OkStatus();
}

void Allocation::Reset() {
  for (DeviceMemory* device : mapped_) device->Unmap(data_);
  mapped_.clear();
  if (manager_ != nullptr) manager_->Free(*this);
  manager_ = nullptr;
  data_ = nullptr;
  bytes_ = 0;
}

Result<std::unique_ptr<MemoryManager>> MemoryManager::Create(const MemoryManagerOptions& options) {
  for (size_t bytes = options.address_bytes; bytes >= kMinAddressBytes; bytes /= 2) {
    void* base = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base != MAP_FAILED) {
      return std::unique_ptr<MemoryManager>(new MemoryManager(static_cast<std::byte*>(base), bytes, options));
    }
  }
  return ResourceExhausted("cannot reserve {} bytes of addresses: {}; is there a limit (ulimit -v)?", kMinAddressBytes,
                           std::strerror(errno));
}

MemoryManager::MemoryManager(std::byte* base, size_t bytes, const MemoryManagerOptions& options)
    : base_(base), bytes_(bytes), options_(options), free_{{0, bytes}} {}

MemoryManager::~MemoryManager() {
  LEM_CHECK(free_.size() == 1 && free_.begin()->second == bytes_) << "allocations outlive the memory manager";
  ::munmap(base_, bytes_);
}

Result<Allocation> MemoryManager::Allocate(MemoryUse use, size_t bytes) {
  LEM_CHECK(bytes > 0);
  const auto use_idx = static_cast<size_t>(use);
  const std::optional<uint64_t> padded = CheckedAdd(bytes, kGranule - 1);
  const size_t rounded = padded ? *padded / kGranule * kGranule : 0;
  const std::lock_guard lock(mutex_);
  const uint64_t used = used_[use_idx].load(std::memory_order_relaxed);
  const uint64_t budget = options_.budget_bytes[use_idx];
  if (budget != 0 && (rounded == 0 || rounded > budget || used > budget - rounded)) {
    return ResourceExhausted("{} bytes for {} do not fit: {} are in use and {} are allowed", bytes, MemoryUseName(use),
                             used, budget);
  }
  auto found = free_.begin();
  while (found != free_.end() && found->second < rounded) ++found;
  if (rounded == 0 || found == free_.end()) {
    return ResourceExhausted("{} bytes for {} do not fit the {} bytes of reserved addresses", bytes, MemoryUseName(use),
                             bytes_);
  }
  const auto [offset, free_bytes] = *found;
  std::byte* data = base_ + offset;
  if (::mprotect(data, rounded, PROT_READ | PROT_WRITE) != 0) {
    return ResourceExhausted("{} bytes for {} cannot be had: {}", bytes, MemoryUseName(use), std::strerror(errno));
  }
  free_.erase(found);
  if (free_bytes > rounded) free_.emplace(offset + rounded, free_bytes - rounded);
  used_[use_idx].fetch_add(rounded, std::memory_order_relaxed);
  Allocation allocation;
  allocation.manager_ = this;
  allocation.data_ = data;
  allocation.bytes_ = rounded;
  allocation.use_ = use;
  return allocation;
}

void MemoryManager::Free(const Allocation& allocation) {
  // A fresh mapping gives the pages back and makes late accesses fault.
  void* address = ::mmap(allocation.data_, allocation.bytes_, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  LEM_CHECK(address == allocation.data_) << std::strerror(errno);
  const std::lock_guard lock(mutex_);
  used_[static_cast<size_t>(allocation.use_)].fetch_sub(allocation.bytes_, std::memory_order_relaxed);
  auto [it, inserted] = free_.emplace(static_cast<size_t>(allocation.data_ - base_), allocation.bytes_);
  LEM_CHECK(inserted);
  if (const auto next = std::next(it); next != free_.end() && it->first + it->second == next->first) {
    it->second += next->second;
    free_.erase(next);
  }
  if (it != free_.begin()) {
    if (const auto before = std::prev(it); before->first + before->second == it->first) {
      before->second += it->second;
      free_.erase(it);
    }
  }
}

}  // namespace lem
