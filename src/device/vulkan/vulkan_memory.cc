#include "device/vulkan/vulkan_memory.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/checked_math.h"

namespace lem {
namespace {

constexpr VkBufferUsageFlags kBufferUsage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                            VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                                            VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
// Shaders read whole words: the last bytes of a weight may lie in a word that reaches past it.
constexpr uint64_t kReadPastEnd = 8;

constexpr VkMemoryPropertyFlags kVisible = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

// The first memory type with all of `wanted` and none of `unwanted`.
const uint32_t* FindType(const VkPhysicalDeviceMemoryProperties& properties, VkMemoryPropertyFlags wanted,
                         VkMemoryPropertyFlags unwanted, uint32_t& storage) {
  for (uint32_t i = 0; i < properties.memoryTypeCount; ++i) {
    const VkMemoryPropertyFlags flags = properties.memoryTypes[i].propertyFlags;
    if ((flags & wanted) == wanted && (flags & unwanted) == 0) {
      storage = i;
      return &storage;
    }
  }
  return nullptr;
}

// Types that a shader's plain loads and stores cannot or should not use.
constexpr VkMemoryPropertyFlags kSpecial = VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT | VK_MEMORY_PROPERTY_PROTECTED_BIT |
                                           VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD |
                                           VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD;

// The memory type of each kind, best first; Vulkan promises a type with kVisible and one that is device-local.
uint32_t ChooseType(const VkPhysicalDeviceMemoryProperties& properties, VulkanMemoryKind kind, bool shares_memory) {
  constexpr VkMemoryPropertyFlags kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
  constexpr VkMemoryPropertyFlags kCached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  std::vector<VkMemoryPropertyFlags> wishes;
  switch (kind) {
    case VulkanMemoryKind::kDevice:
      if (shares_memory) wishes = {kLocal | kVisible | kCached, kLocal | kVisible};
      wishes.push_back(kLocal);
      break;
    case VulkanMemoryKind::kUpload:
      wishes = {kVisible};
      break;
    case VulkanMemoryKind::kReadback:
      wishes = {kVisible | kCached, kVisible};
      break;
  }
  // Away from the device's own memory for host traffic, where there is a choice.
  const VkMemoryPropertyFlags avoid = kind == VulkanMemoryKind::kDevice || shares_memory ? 0u : kLocal;
  uint32_t type = 0;
  for (const VkMemoryPropertyFlags unwanted : {kSpecial | avoid, kSpecial}) {
    for (const VkMemoryPropertyFlags wanted : wishes) {
      if (FindType(properties, wanted, unwanted, type) != nullptr) return type;
    }
  }
  return type;
}

std::string_view KindName(VulkanMemoryKind kind) {
  switch (kind) {
    case VulkanMemoryKind::kDevice:
      return "device memory";
    case VulkanMemoryKind::kUpload:
      return "upload memory";
    case VulkanMemoryKind::kReadback:
      return "readback memory";
  }
  return "memory";
}

}  // namespace

// One allocation of the driver with one buffer over all of it. Invariant: free_ranges are disjoint, not adjacent, in
// rising order, and together with the live pieces cover [0, bytes).
struct VulkanMemory::Block {
  VulkanMemoryKind kind = VulkanMemoryKind::kDevice;
  bool imported = false;
  VkDeviceMemory memory = VK_NULL_HANDLE;
  VkBuffer buffer = VK_NULL_HANDLE;
  uint64_t bytes = 0;
  DeviceAddress address = 0;
  std::byte* host = nullptr;
  std::map<uint64_t, uint64_t> free_ranges;  // offset -> bytes
  std::map<uint64_t, uint64_t> pieces;       // offset -> padded bytes
};

VulkanBuffer::~VulkanBuffer() {
  if (owner_ != nullptr) owner_->Free(*this);
}

VulkanBuffer::VulkanBuffer(VulkanBuffer&& other) noexcept { *this = std::move(other); }

VulkanBuffer& VulkanBuffer::operator=(VulkanBuffer&& other) noexcept {
  if (this == &other) return *this;
  if (owner_ != nullptr) owner_->Free(*this);
  owner_ = std::exchange(other.owner_, nullptr);
  block_ = std::exchange(other.block_, nullptr);
  handle_ = std::exchange(other.handle_, VkBuffer{VK_NULL_HANDLE});
  offset_ = std::exchange(other.offset_, 0);
  bytes_ = std::exchange(other.bytes_, 0);
  address_ = std::exchange(other.address_, 0);
  host_ = std::exchange(other.host_, nullptr);
  return *this;
}

VulkanMemory::VulkanMemory(const VulkanInstanceApi& instance_api, const VulkanDeviceInfo& info, VkDevice device,
                           const VulkanDeviceApi& api, const VulkanMemoryOptions& options)
    : device_(device), api_(api), options_(options) {
  instance_api.vkGetPhysicalDeviceMemoryProperties(info.handle, &properties_);
  for (size_t kind = 0; kind < kNumVulkanMemoryKinds; ++kind) {
    types_[kind] = ChooseType(properties_, static_cast<VulkanMemoryKind>(kind), info.shares_memory);
  }
  device_visible_ = (properties_.memoryTypes[types_[0]].propertyFlags & kVisible) == kVisible;
  max_block_bytes_ = std::min({info.max_allocation_bytes, info.max_buffer_bytes});
  import_alignment_ = info.import_alignment;
  can_import_ = info.host_import && options.allow_host_import && api.vkGetMemoryHostPointerPropertiesEXT != nullptr &&
                IsPowerOfTwo(import_alignment_);
  const uint64_t heap = properties_.memoryHeaps[properties_.memoryTypes[types_[0]].heapIndex].size;
  use_.device_budget_bytes = options.device_budget_bytes != 0 ? options.device_budget_bytes : heap / 10 * 9;
}

VulkanMemory::~VulkanMemory() {
  for (const std::unique_ptr<Block>& block : blocks_) {
    LEM_CHECK(block->pieces.empty()) << block->pieces.size() << " Vulkan buffers outlive their context";
    DestroyBlock(*block);
  }
}

void VulkanMemory::DestroyBlock(Block& block) {
  if (block.buffer != VK_NULL_HANDLE) api_.vkDestroyBuffer(device_, block.buffer, nullptr);
  if (block.memory != VK_NULL_HANDLE) api_.vkFreeMemory(device_, block.memory, nullptr);
  block.buffer = VK_NULL_HANDLE;
  block.memory = VK_NULL_HANDLE;
}

Status VulkanMemory::CheckBudget(VulkanMemoryKind kind, uint64_t bytes) const {
  if (kind != VulkanMemoryKind::kDevice) return OkStatus();
  const uint64_t committed = use_.committed_bytes[0];
  if (RangeFits(committed, bytes, use_.device_budget_bytes)) return OkStatus();
  return ResourceExhausted(
      "{} bytes of device memory asked for, {} of the budget of {} are taken; "
      "put fewer layers on the device",
      bytes, committed, use_.device_budget_bytes);
}

Status VulkanMemory::BindBuffer(Block& block, const VkMemoryAllocateInfo& allocate) {
  LEM_TRY(VulkanStatus(api_.vkAllocateMemory(device_, &allocate, nullptr, &block.memory), "vkAllocateMemory"));
  LEM_TRY(VulkanStatus(api_.vkBindBufferMemory(device_, block.buffer, block.memory, 0), "vkBindBufferMemory"));
  VkBufferDeviceAddressInfo info{};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
  info.buffer = block.buffer;
  block.address = api_.vkGetBufferDeviceAddress(device_, &info);
  return OkStatus();
}

Result<std::unique_ptr<VulkanMemory::Block>> VulkanMemory::MakeBlock(VulkanMemoryKind kind, uint64_t bytes) {
  auto block = std::make_unique<Block>();
  block->kind = kind;
  block->bytes = bytes;
  const auto fail = [&](Status status) {
    DestroyBlock(*block);
    return std::move(status).WithContext(fmt::format("{} bytes of {}", bytes, KindName(kind)));
  };
  VkBufferCreateInfo create{};
  create.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  create.size = bytes;
  create.usage = kBufferUsage;
  create.sharingMode = VK_SHARING_MODE_EXCLUSIVE;
  Status status = VulkanStatus(api_.vkCreateBuffer(device_, &create, nullptr, &block->buffer), "vkCreateBuffer");
  if (!status.ok()) return fail(std::move(status));
  VkMemoryRequirements needs{};
  api_.vkGetBufferMemoryRequirements(device_, block->buffer, &needs);
  const uint32_t type = types_[static_cast<size_t>(kind)];
  if ((needs.memoryTypeBits >> type & 1u) == 0) {
    return fail(Internal("memory type {} cannot hold storage buffers (allowed: {:#x})", type, needs.memoryTypeBits));
  }
  VkMemoryAllocateFlagsInfo flags{};
  flags.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO;
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocate.pNext = &flags;
  allocate.allocationSize = needs.size;
  allocate.memoryTypeIndex = type;
  status = BindBuffer(*block, allocate);
  if (!status.ok()) return fail(std::move(status));
  if ((properties_.memoryTypes[type].propertyFlags & kVisible) == kVisible) {
    void* host = nullptr;
    status = VulkanStatus(api_.vkMapMemory(device_, block->memory, 0, VK_WHOLE_SIZE, 0, &host), "vkMapMemory");
    if (!status.ok()) return fail(std::move(status));
    block->host = static_cast<std::byte*>(host);
  }
  block->free_ranges.emplace(0, bytes);
  return block;
}

VulkanBuffer VulkanMemory::Cut(Block& block, uint64_t offset, uint64_t bytes, uint64_t padded) {
  block.pieces.emplace(offset, padded);
  VulkanBuffer buffer;
  buffer.owner_ = this;
  buffer.block_ = &block;
  buffer.handle_ = block.buffer;
  buffer.offset_ = offset;
  buffer.bytes_ = bytes;
  buffer.address_ = block.address + offset;
  buffer.host_ = block.host != nullptr ? block.host + offset : nullptr;
  return buffer;
}

Result<VulkanBuffer> VulkanMemory::Allocate(VulkanMemoryKind kind, size_t bytes) {
  const std::optional<uint64_t> sum = CheckedAdd(bytes, kReadPastEnd);
  const std::optional<uint64_t> padded = sum ? CheckedAlignUp(*sum, kVulkanAlignment) : std::nullopt;
  if (!padded || *padded > max_block_bytes_) {
    return ResourceExhausted("{} bytes in one piece asked for; this device allows {}: split the tensor", bytes,
                             max_block_bytes_);
  }
  const std::lock_guard lock(mutex_);
  uint64_t& used = use_.used_bytes[static_cast<size_t>(kind)];
  for (const std::unique_ptr<Block>& block : blocks_) {
    if (block->kind != kind || block->imported) continue;
    const auto range = std::ranges::find_if(block->free_ranges, [&](const auto& r) { return r.second >= *padded; });
    if (range == block->free_ranges.end()) continue;
    const auto [offset, size] = *range;
    block->free_ranges.erase(range);
    if (size > *padded) block->free_ranges.emplace(offset + *padded, size - *padded);
    used += *padded;
    return Cut(*block, offset, bytes, *padded);
  }
  // Small pieces share a block; where the budget has no room for a whole one, the piece alone is tried.
  uint64_t block_bytes = std::max(*padded, std::min(options_.block_bytes, max_block_bytes_));
  if (!CheckBudget(kind, block_bytes).ok()) block_bytes = *padded;
  LEM_TRY(CheckBudget(kind, block_bytes));
  Result<std::unique_ptr<Block>> made = MakeBlock(kind, block_bytes);
  if (!made.ok() && made.status().code() == StatusCode::kResourceExhausted && block_bytes > *padded) {
    made = MakeBlock(kind, *padded);
  }
  LEM_ASSIGN_OR_RETURN(std::unique_ptr<Block> block, std::move(made));
  use_.committed_bytes[static_cast<size_t>(kind)] += block->bytes;
  used += *padded;
  block->free_ranges.clear();
  if (block->bytes > *padded) block->free_ranges.emplace(*padded, block->bytes - *padded);
  blocks_.push_back(std::move(block));
  return Cut(*blocks_.back(), 0, bytes, *padded);
}

Result<VulkanBuffer> VulkanMemory::Import(std::span<std::byte> host) {
  if (!can_import_) {
    return Unimplemented("this device cannot use host memory in place (VK_EXT_external_memory_host is {})",
                         options_.allow_host_import ? "not offered" : "switched off");
  }
  const auto begin = reinterpret_cast<uintptr_t>(host.data());
  const uint64_t aligned_begin = begin & ~(import_alignment_ - 1);
  const std::optional<uint64_t> aligned_end = CheckedAlignUp(begin + host.size(), import_alignment_);
  if (host.empty() || !aligned_end) return InvalidArgument("no bytes to import");
  const uint64_t bytes = *aligned_end - aligned_begin;
  if (bytes > max_block_bytes_) {
    return ResourceExhausted("{} bytes of host memory in one piece; this device imports at most {}: split it", bytes,
                             max_block_bytes_);
  }
  void* pointer = reinterpret_cast<void*>(aligned_begin);  // NOLINT(performance-no-int-to-ptr)
  constexpr auto kHandleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
  VkMemoryHostPointerPropertiesEXT pointer_properties{};
  pointer_properties.sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT;
  const VkResult known = api_.vkGetMemoryHostPointerPropertiesEXT(device_, kHandleType, pointer, &pointer_properties);
  if (known != VK_SUCCESS) {
    return InvalidArgument("the driver does not take this host memory: {}", VulkanResultName(known));
  }
  auto block = std::make_unique<Block>();
  block->imported = true;
  block->bytes = bytes;
  block->host = static_cast<std::byte*>(pointer);
  VkExternalMemoryBufferCreateInfo external{};
  external.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO;
  external.handleTypes = kHandleType;
  VkBufferCreateInfo create{};
  create.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  create.pNext = &external;
  create.size = bytes;
  create.usage = kBufferUsage;
  create.sharingMode = VK_SHARING_MODE_EXCLUSIVE;
  LEM_TRY(VulkanStatus(api_.vkCreateBuffer(device_, &create, nullptr, &block->buffer), "vkCreateBuffer"));
  VkMemoryRequirements needs{};
  api_.vkGetBufferMemoryRequirements(device_, block->buffer, &needs);
  const uint32_t types = needs.memoryTypeBits & pointer_properties.memoryTypeBits;
  uint32_t type = 0;
  while (type < properties_.memoryTypeCount && (types >> type & 1u) == 0) ++type;
  if (type == properties_.memoryTypeCount || needs.size > bytes) {
    DestroyBlock(*block);
    return InvalidArgument("the driver takes this host memory for no storage buffer of {} bytes", bytes);
  }
  VkImportMemoryHostPointerInfoEXT import{};
  import.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT;
  import.handleType = kHandleType;
  import.pHostPointer = pointer;
  VkMemoryAllocateFlagsInfo flags{};
  flags.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO;
  flags.pNext = &import;
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocate.pNext = &flags;
  allocate.allocationSize = bytes;
  allocate.memoryTypeIndex = type;
  if (Status status = BindBuffer(*block, allocate); !status.ok()) {
    DestroyBlock(*block);
    // Drivers refuse some mappings (a read-only file, say) with codes of their own.
    if (status.code() == StatusCode::kUnavailable) return status;
    return InvalidArgument("the driver does not take this host memory: {}", status.message());
  }
  const std::lock_guard lock(mutex_);
  use_.imported_bytes += bytes;
  blocks_.push_back(std::move(block));
  return Cut(*blocks_.back(), begin - aligned_begin, host.size(), bytes);
}

void VulkanMemory::Free(const VulkanBuffer& buffer) {
  const std::lock_guard lock(mutex_);
  auto& block = *static_cast<Block*>(buffer.block_);
  const auto piece = block.pieces.find(buffer.offset_);
  LEM_CHECK(piece != block.pieces.end()) << buffer.offset_;
  uint64_t offset = piece->first, bytes = piece->second;
  block.pieces.erase(piece);
  if (block.imported) {
    use_.imported_bytes -= block.bytes;
  } else {
    use_.used_bytes[static_cast<size_t>(block.kind)] -= bytes;
    const auto after = block.free_ranges.lower_bound(offset);
    if (after != block.free_ranges.end() && after->first == offset + bytes) {
      bytes += after->second;
      block.free_ranges.erase(after);
    }
    const auto next = block.free_ranges.lower_bound(offset);
    if (next != block.free_ranges.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == offset) {
        offset = before->first;
        bytes += before->second;
        block.free_ranges.erase(before);
      }
    }
    block.free_ranges.emplace(offset, bytes);
    if (!block.pieces.empty()) return;
    use_.committed_bytes[static_cast<size_t>(block.kind)] -= block.bytes;
  }
  DestroyBlock(block);
  std::erase_if(blocks_, [&](const std::unique_ptr<Block>& b) { return b.get() == &block; });
}

VulkanMemoryUse VulkanMemory::use() const {
  const std::lock_guard lock(mutex_);
  return use_;
}

}  // namespace lem
