// The address space as a Vulkan device sees it: ranges are imported where the device works in the host's memory, and
// shadowed in its own memory where it does not; window by window, when they are first used.
#pragma once

#include <map>
#include <mutex>
#include <vector>

#include "device/vulkan/vulkan_context.h"
#include "memory/memory_manager.h"

namespace lem {

// Thread-safe. The context and the account must outlive it.
class VulkanAddressMap : public DeviceMemory {
 public:
  // `share`: import instead of shadowing. REQUIRES: then the context's memory can import.
  VulkanAddressMap(VulkanContext& context, bool share, TransferLedger::Account& account);

  bool shares_host_memory() const override { return share_; }
  uint64_t free_bytes() const override;
  Status Map(const std::byte* data, size_t bytes, size_t granule) override;
  void Unmap(const std::byte* data) override;
  Status CopyIn(const std::byte* data, size_t bytes, TransferCause cause) override;
  Status CopyOut(std::byte* data, size_t bytes, TransferCause cause) override;

  // Where the device finds an address of the space. Errors: NotFound (not mapped here), ResourceExhausted (the window
  // cannot be had).
  Result<DeviceAddress> Resolve(const std::byte* data);

 private:
  struct Range {
    size_t bytes = 0;
    size_t window_bytes = 0;
    std::vector<VulkanBuffer> windows;  // invalid until first used
  };
  struct Place {
    VulkanBuffer* window = nullptr;
    size_t offset = 0;      // in the window
    size_t contiguous = 0;  // bytes from here to the window's end
  };
  Result<Place> Find(const std::byte* data);  // REQUIRES: mutex_ held

  VulkanContext& context_;
  const bool share_;
  TransferLedger::Account& account_;
  mutable std::mutex mutex_;
  std::map<const std::byte*, Range> ranges_;  // guarded by mutex_
  uint64_t promised_bytes_ = 0;               // of mapped ranges; guarded by mutex_
};

}  // namespace lem
