// Memory of a Vulkan device: blocks of at most 1 GiB with one buffer each, cut into pieces, plus imports of host
// memory. Every piece has a device address; budgets are in bytes.
//
// Thread-safe. Buffers and imports must be destroyed before the context that they came from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/status.h"
#include "device/vulkan/vulkan_api.h"
#include "device/vulkan/vulkan_instance.h"
#include "device/vulkan/vulkan_step.h"

namespace lem {

enum class VulkanMemoryKind : uint8_t {
  kDevice,    // the device's own memory; host() is null unless device and host share it
  kUpload,    // the host writes, the device reads: coherent, maybe uncached
  kReadback,  // the device writes, the host reads: coherent, cached where there is such
};
inline constexpr size_t kNumVulkanMemoryKinds = 3;

// Every piece begins at a multiple of this and is padded to one.
inline constexpr size_t kVulkanAlignment = 256;

class VulkanMemory;

// A piece of device memory. Move-only; gives its memory back when destroyed.
class VulkanBuffer {
 public:
  VulkanBuffer() = default;
  ~VulkanBuffer();
  VulkanBuffer(VulkanBuffer&& other) noexcept;
  VulkanBuffer& operator=(VulkanBuffer&& other) noexcept;

  bool valid() const { return owner_ != nullptr; }
  DeviceAddress address() const { return address_; }
  size_t bytes() const { return bytes_; }
  // Where the host sees it, or null.
  std::byte* host() const { return host_; }
  VkBuffer handle() const { return handle_; }
  size_t offset() const { return offset_; }  // from the start of handle()

 private:
  friend class VulkanMemory;
  VulkanMemory* owner_ = nullptr;
  void* block_ = nullptr;  // VulkanMemory::Block
  VkBuffer handle_ = VK_NULL_HANDLE;
  size_t offset_ = 0;
  size_t bytes_ = 0;
  DeviceAddress address_ = 0;
  std::byte* host_ = nullptr;
};

struct VulkanMemoryOptions {
  uint64_t device_budget_bytes = 0;            // for kDevice; 0 = 90 % of the device-local heap
  uint64_t block_bytes = uint64_t{256} << 20;  // of a block that small pieces share; larger pieces get their own
  bool allow_host_import = true;               // off: Import answers as on a device without the extension
};

struct VulkanMemoryUse {
  uint64_t used_bytes[kNumVulkanMemoryKinds] = {};       // of live pieces
  uint64_t committed_bytes[kNumVulkanMemoryKinds] = {};  // of blocks taken from the driver
  uint64_t imported_bytes = 0;
  uint64_t device_budget_bytes = 0;
};

class VulkanMemory {
 public:
  VulkanMemory(const VulkanInstanceApi& instance_api, const VulkanDeviceInfo& info, VkDevice device,
               const VulkanDeviceApi& api, const VulkanMemoryOptions& options);
  ~VulkanMemory();
  VulkanMemory(const VulkanMemory&) = delete;
  VulkanMemory& operator=(const VulkanMemory&) = delete;

  // Errors: ResourceExhausted (over the budget, a device limit, or the driver has no more), Unavailable (device lost).
  Result<VulkanBuffer> Allocate(VulkanMemoryKind kind, size_t bytes);
  // Makes host memory readable and writable by the device, without a copy; `host` stays valid and mapped while the
  // result lives. The range is widened to the device's import alignment. Errors: Unimplemented (no such extension, or
  // switched off), InvalidArgument (the driver refuses this memory), ResourceExhausted.
  Result<VulkanBuffer> Import(std::span<std::byte> host);
  bool can_import() const { return can_import_; }

  VulkanMemoryUse use() const;
  // Whether memory of kDevice is memory that the host can read and write in place.
  bool device_memory_is_host_visible() const { return device_visible_; }

 private:
  friend class VulkanBuffer;
  struct Block;
  Result<std::unique_ptr<Block>> MakeBlock(VulkanMemoryKind kind, uint64_t bytes);
  Status BindBuffer(Block& block, const VkMemoryAllocateInfo& allocate);
  Status CheckBudget(VulkanMemoryKind kind, uint64_t bytes) const;
  VulkanBuffer Cut(Block& block, uint64_t offset, uint64_t bytes, uint64_t padded);
  void DestroyBlock(Block& block);
  void Free(const VulkanBuffer& buffer);

  VkDevice device_;
  const VulkanDeviceApi& api_;
  const VulkanMemoryOptions options_;
  uint64_t max_block_bytes_ = 0;
  uint64_t import_alignment_ = 0;
  bool can_import_ = false;
  bool device_visible_ = false;
  VkPhysicalDeviceMemoryProperties properties_{};
  uint32_t types_[kNumVulkanMemoryKinds] = {};  // memory type index of each kind

  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Block>> blocks_;  // guarded by mutex_
  VulkanMemoryUse use_;                         // guarded by mutex_
};

}  // namespace lem
