// One Vulkan device in use: queues, memory, pipelines, submissions and their completion.
//
// Thread-safe, except that a VulkanCommands belongs to one thread at a time. Every failure is a Status; once the device
// is lost, everything answers Unavailable with "device lost" in the text and nothing aborts. The destructor waits for
// the queues.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "base/status.h"
#include "device/vulkan/vulkan_instance.h"
#include "device/vulkan/vulkan_memory.h"
#include "device/vulkan/vulkan_pipelines.h"
#include "device/vulkan/vulkan_recorder.h"

namespace lem {

// How the kernels are cut for a device. Zeros in options are replaced by what suits the device.
struct VulkanTuning {
  uint32_t matvec_lanes = 0;     // threads that share one weight row: 8 to 64, a power of two
  uint32_t matvec_rows = 0;      // weight rows of a workgroup
  uint32_t matvec_max_cols = 0;  // most activation rows of a pass: 1 to 8
  uint32_t attention_lanes = 0;  // threads and keys of an attention tile: 32 or 64
  uint32_t workgroup = 0;        // threads of the other kernels, a power of two
};

struct VulkanContextOptions {
  VulkanMemoryOptions memory;
  std::filesystem::path cache_folder;   // for compiled pipelines; empty = none
  uint32_t required_subgroup_size = 0;  // 0 = the driver's choice; for tests
  VulkanTuning tuning;
};

// One submission: done when its queue's timeline reached the value.
struct VulkanTicket {
  VulkanQueueKind queue = VulkanQueueKind::kCompute;
  uint64_t value = 0;
};

class VulkanContext {
 public:
  // `device_idx`: into instance->devices(). Errors: FailedPrecondition (the device lacks what info.unmet lists),
  // ResourceExhausted, Unavailable.
  static Result<std::unique_ptr<VulkanContext>> Create(std::shared_ptr<VulkanInstance> instance, size_t device_idx,
                                                       const VulkanContextOptions& options = {});
  ~VulkanContext();
  VulkanContext(const VulkanContext&) = delete;
  VulkanContext& operator=(const VulkanContext&) = delete;

  const VulkanDeviceInfo& info() const { return info_; }
  const VulkanTuning& tuning() const { return tuning_; }
  VulkanInstance& instance() { return *instance_; }
  VulkanMemory& memory() { return *memory_; }
  VulkanPipelines& pipelines() { return *pipelines_; }
  VkDevice device() const { return device_; }
  const VulkanDeviceApi& api() const { return api_; }
  // The queue family that commands for `queue` are recorded for; both are the same where there is no transfer queue.
  uint32_t queue_family(VulkanQueueKind queue) const;
  bool has_transfer_queue() const { return queues_[1].separate; }

  // Starts the commands once all `waits` are done; returns at once. The host's writes to coherent memory before the
  // call are seen. Errors: Unavailable (device lost), ResourceExhausted.
  Result<VulkanTicket> Submit(const VulkanCommands& commands, std::span<const VulkanTicket> waits = {});
  // Errors: DeadlineExceeded (not done in time), Unavailable (device lost).
  Status Wait(VulkanTicket ticket, std::chrono::nanoseconds timeout = std::chrono::hours(1));
  // Whether it is done; false on a lost device.
  bool IsDone(VulkanTicket ticket);
  // Submit and Wait.
  Status Run(const VulkanCommands& commands);

  // Copies host bytes to a buffer or back, through staging memory where needed, and waits for it.
  Status Write(const VulkanBuffer& buffer, size_t offset, std::span<const std::byte> bytes);
  Status Read(const VulkanBuffer& buffer, size_t offset, std::span<std::byte> bytes);

  bool lost() const { return lost_.load(std::memory_order_acquire); }
  // Fault injection for tests: after `num_submits` more submissions the device counts as lost. Negative: off.
  void InjectDeviceLoss(int64_t num_submits) { submits_until_loss_.store(num_submits); }

  // OK, or the Status of a failed Vulkan call; marks the device as lost where the result says so.
  Status Check(VkResult result, std::string_view call);

 private:
  struct Queue {
    VkQueue handle = VK_NULL_HANDLE;
    uint32_t family = 0;
    bool separate = false;  // not the compute queue under a second name
    VkSemaphore timeline = VK_NULL_HANDLE;
    uint64_t last_value = 0;  // guarded by submit_mutex_
  };

  VulkanContext(std::shared_ptr<VulkanInstance> instance, size_t device_idx, const VulkanContextOptions& options);
  Status Init(const VulkanContextOptions& options);
  Status CreateDevice();
  Status CreateTimelines();
  Queue& queue(VulkanQueueKind kind);
  Status LostStatus() const;
  void ChooseQueues();
  Status CopyNow(const VulkanBuffer& from, size_t from_offset, const VulkanBuffer& to, size_t to_offset, size_t bytes);

  const std::shared_ptr<VulkanInstance> instance_;
  const VulkanDeviceInfo info_;
  VulkanTuning tuning_;
  VkDevice device_ = VK_NULL_HANDLE;
  VulkanDeviceApi api_;
  std::array<Queue, 2> queues_;
  std::mutex submit_mutex_;
  std::unique_ptr<VulkanMemory> memory_;
  std::unique_ptr<VulkanPipelines> pipelines_;
  std::atomic<bool> lost_{false};
  std::atomic<int64_t> submits_until_loss_{-1};
};

}  // namespace lem
