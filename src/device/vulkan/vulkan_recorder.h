// Records dispatches, copies and barriers into a command buffer that can be submitted many times.
//
// Errors (a pipeline that cannot be made, host memory) stick: recording goes on without effect and Finish returns the
// first one. A collecting recorder records nothing: it notes which pipelines the same calls would need, so that loading
// a model can compile them first. Not thread-safe; the context must outlive recorder and commands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "device/vulkan/vulkan_api.h"
#include "device/vulkan/vulkan_memory.h"
#include "device/vulkan/vulkan_pipelines.h"

namespace lem {

class VulkanContext;

enum class VulkanQueueKind : uint8_t { kCompute, kTransfer };

// A finished recording. Move-only. REQUIRES: no submission of it is pending when it is submitted again or destroyed.
class VulkanCommands {
 public:
  VulkanCommands() = default;
  ~VulkanCommands();
  VulkanCommands(VulkanCommands&& other) noexcept;
  VulkanCommands& operator=(VulkanCommands&& other) noexcept;

  VkCommandBuffer handle() const { return handle_; }
  VulkanQueueKind queue() const { return queue_; }
  size_t num_dispatches() const { return num_dispatches_; }

 private:
  friend class VulkanRecorder;
  VulkanContext* context_ = nullptr;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkCommandBuffer handle_ = VK_NULL_HANDLE;
  VulkanQueueKind queue_ = VulkanQueueKind::kCompute;
  size_t num_dispatches_ = 0;
};

class VulkanRecorder {
 public:
  static Result<VulkanRecorder> Begin(VulkanContext& context, VulkanQueueKind queue = VulkanQueueKind::kCompute);
  static VulkanRecorder Collecting(VulkanContext& context);
  VulkanRecorder(VulkanRecorder&&) = default;
  VulkanRecorder& operator=(VulkanRecorder&&) = default;

  // The step header that the kernels recorded from now on read, and the bucket that grids are sized for.
  void SetStep(DeviceAddress header, int64_t max_tokens, int64_t max_outputs);
  DeviceAddress step() const { return step_; }
  int64_t max_tokens() const { return max_tokens_; }
  int64_t max_outputs() const { return max_outputs_; }

  // Everything recorded later sees the memory effects of everything recorded earlier (kernels and copies).
  void Barrier();
  // As Barrier, and the host may read what was written once the submission is done. Put one before Finish when the
  // host reads outputs.
  void HostReadBarrier();
  // Bytes of one buffer to another. REQUIRES: ranges inside the buffers, not overlapping.
  void Copy(const VulkanBuffer& from, size_t from_offset, const VulkanBuffer& to, size_t to_offset, size_t bytes);
  // bytes and offset are multiples of 4.
  void Fill(const VulkanBuffer& buffer, size_t offset, size_t bytes, uint32_t value);
  // One dispatch. `push` is at most kMaxPushBytes long.
  void Dispatch(const VulkanPipelineKey& key, std::span<const std::byte> push, uint32_t x, uint32_t y, uint32_t z);

  // The pipelines used so far, each once.
  const std::vector<VulkanPipelineKey>& pipelines() const { return keys_; }
  VulkanContext& context() const { return *context_; }
  Result<VulkanCommands> Finish() &&;

 private:
  explicit VulkanRecorder(VulkanContext& context) : context_(&context) {}
  bool recording() const { return status_.ok() && commands_.handle_ != VK_NULL_HANDLE; }
  void MemoryBarrier(VkPipelineStageFlags2 to_stages, VkAccessFlags2 to_access);

  VulkanContext* context_;
  VulkanCommands commands_;
  Status status_;
  std::vector<VulkanPipelineKey> keys_;
  VkPipeline bound_ = VK_NULL_HANDLE;
  DeviceAddress step_ = 0;
  int64_t max_tokens_ = 0, max_outputs_ = 0;
};

}  // namespace lem
