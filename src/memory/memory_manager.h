// The heterogeneous memory manager: one reserved range of virtual addresses for every processor of the machine.
//
// What is allocated here has one address, whoever uses it. A device either shares the host's memory, and then imports
// the very pages (no copy), or has a memory of its own, and then keeps a shadow of the range, filled and emptied by
// copies that the ledger counts. Pools have budgets; pages cost memory only when they are touched.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/status.h"
#include "memory/transfer_ledger.h"

namespace lem {

// A device's side of the address space. Ranges are given by their address in it. Thread-safe.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  // True if the device works on the host's own pages: then CopyIn and CopyOut are never needed.
  virtual bool shares_host_memory() const = 0;
  // Bytes that may still be mapped.
  virtual uint64_t free_bytes() const = 0;
  // Makes [data, data + bytes) known to the device; pages are imported or shadowed when they are first used. Nothing
  // that a kernel addresses as a whole crosses a multiple of `granule` bytes from `data`. Errors: ResourceExhausted
  // with the numbers, Unavailable when the device is lost.
  virtual Status Map(const std::byte* data, size_t bytes, size_t granule) = 0;
  // REQUIRES: no work that uses the range is under way.
  virtual void Unmap(const std::byte* data) = 0;
  // Copies between a mapped range and the shadow of it, counting the bytes; they return when the copy is done.
  // REQUIRES: !shares_host_memory(); the range is mapped.
  virtual Status CopyIn(const std::byte* data, size_t bytes, TransferCause cause) = 0;
  virtual Status CopyOut(std::byte* data, size_t bytes, TransferCause cause) = 0;
};

enum class MemoryUse : uint8_t { kWeights, kKvCache, kActivations };
inline constexpr size_t kNumMemoryUses = 3;
std::string_view MemoryUseName(MemoryUse use);

class MemoryManager;

// A range of the address space, zero when new. Movable; frees itself, after taking itself back from the devices that
// it was mapped to.
class Allocation {
 public:
  Allocation() = default;
  Allocation(Allocation&& other) noexcept { *this = std::move(other); }
  Allocation& operator=(Allocation&& other) noexcept;
  ~Allocation() { Reset(); }

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  // Once for each device. Errors: as DeviceMemory::Map.
  Status MapTo(DeviceMemory& device, size_t granule);
  void Reset();

 private:
  friend class MemoryManager;
  MemoryManager* manager_ = nullptr;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  MemoryUse use_ = MemoryUse::kWeights;
  std::vector<DeviceMemory*> mapped_;
};

struct MemoryManagerOptions {
  size_t address_bytes = size_t{1} << 40;               // reserved; costs no memory
  std::array<uint64_t, kNumMemoryUses> budget_bytes{};  // by MemoryUse; 0 = no limit
};

// Thread-safe. Must outlive its allocations.
class MemoryManager {
 public:
  // Errors: ResourceExhausted if not even a small part of the range can be reserved.
  static Result<std::unique_ptr<MemoryManager>> Create(const MemoryManagerOptions& options = {});
  ~MemoryManager();
  MemoryManager(const MemoryManager&) = delete;
  MemoryManager& operator=(const MemoryManager&) = delete;

  // Whole pages. Errors: ResourceExhausted naming use, bytes asked for, in use and allowed. REQUIRES: bytes > 0.
  Result<Allocation> Allocate(MemoryUse use, size_t bytes);

  // Addresses handed out, by use. Pages that were never touched count, too.
  uint64_t used_bytes(MemoryUse use) const { return used_[static_cast<size_t>(use)].load(std::memory_order_relaxed); }
  TransferLedger& ledger() { return ledger_; }
  const TransferLedger& ledger() const { return ledger_; }

 private:
  friend class Allocation;
  MemoryManager(std::byte* base, size_t bytes, const MemoryManagerOptions& options);
  void Free(const Allocation& allocation);

  std::byte* const base_;
  const size_t bytes_;
  const MemoryManagerOptions options_;
  TransferLedger ledger_;
  std::array<std::atomic<uint64_t>, kNumMemoryUses> used_{};
  std::mutex mutex_;
  std::map<size_t, size_t> free_;  // offset -> bytes; neighbours are joined
};

}  // namespace lem
