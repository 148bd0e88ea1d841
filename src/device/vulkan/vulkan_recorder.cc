#include "device/vulkan/vulkan_recorder.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "device/vulkan/vulkan_context.h"

namespace lem {
namespace {

constexpr VkPipelineStageFlags2 kWork = VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_2_TRANSFER_BIT;
constexpr VkAccessFlags2 kWrites = VK_ACCESS_2_SHADER_WRITE_BIT | VK_ACCESS_2_TRANSFER_WRITE_BIT;
constexpr VkAccessFlags2 kReads = VK_ACCESS_2_SHADER_READ_BIT | VK_ACCESS_2_TRANSFER_READ_BIT;

}  // namespace

VulkanCommands::~VulkanCommands() {
  if (pool_ != VK_NULL_HANDLE) context_->api().vkDestroyCommandPool(context_->device(), pool_, nullptr);
}

VulkanCommands::VulkanCommands(VulkanCommands&& other) noexcept { *this = std::move(other); }

VulkanCommands& VulkanCommands::operator=(VulkanCommands&& other) noexcept {
  std::swap(context_, other.context_);
  std::swap(pool_, other.pool_);
  std::swap(handle_, other.handle_);
  std::swap(queue_, other.queue_);
  std::swap(num_dispatches_, other.num_dispatches_);
  return *this;
}

Result<VulkanRecorder> VulkanRecorder::Begin(VulkanContext& context, VulkanQueueKind queue) {
  VulkanRecorder recorder(context);
  VulkanCommands& commands = recorder.commands_;
  commands.context_ = &context;
  commands.queue_ = queue;
  // A pool each: command buffers of different threads must not share one, and there are few.
  VkCommandPoolCreateInfo pool{};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.queueFamilyIndex = context.queue_family(queue);
  const VulkanDeviceApi& api = context.api();
  LEM_TRY(
      context.Check(api.vkCreateCommandPool(context.device(), &pool, nullptr, &commands.pool_), "vkCreateCommandPool"));
  VkCommandBufferAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  allocate.commandPool = commands.pool_;
  allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  allocate.commandBufferCount = 1;
  LEM_TRY(context.Check(api.vkAllocateCommandBuffers(context.device(), &allocate, &commands.handle_),
                        "vkAllocateCommandBuffers"));
  VkCommandBufferBeginInfo begin{};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  LEM_TRY(context.Check(api.vkBeginCommandBuffer(commands.handle_, &begin), "vkBeginCommandBuffer"));
  // What an earlier submission left (same queue: no semaphore between them) is seen by this one.
  recorder.Barrier();
  return recorder;
}

VulkanRecorder VulkanRecorder::Collecting(VulkanContext& context) { return VulkanRecorder(context); }

void VulkanRecorder::SetStep(DeviceAddress header, int64_t max_tokens, int64_t max_outputs) {
  step_ = header;
  max_tokens_ = max_tokens;
  max_outputs_ = max_outputs;
}

void VulkanRecorder::MemoryBarrier(VkPipelineStageFlags2 to_stages, VkAccessFlags2 to_access) {
  if (!recording()) return;
  VkMemoryBarrier2 barrier{};
  barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER_2;
  barrier.srcStageMask = kWork;
  barrier.srcAccessMask = kWrites;
  barrier.dstStageMask = to_stages;
  barrier.dstAccessMask = to_access;
  if (commands_.queue_ == VulkanQueueKind::kTransfer) {  // a transfer queue knows no shaders
    barrier.srcStageMask = VK_PIPELINE_STAGE_2_TRANSFER_BIT;
    barrier.srcAccessMask = VK_ACCESS_2_TRANSFER_WRITE_BIT;
    barrier.dstStageMask &= ~VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT;
    barrier.dstAccessMask &= ~(VK_ACCESS_2_SHADER_READ_BIT | VK_ACCESS_2_SHADER_WRITE_BIT);
  }
  VkDependencyInfo dependency{};
  dependency.sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO;
  dependency.memoryBarrierCount = 1;
  dependency.pMemoryBarriers = &barrier;
  context_->api().vkCmdPipelineBarrier2(commands_.handle_, &dependency);
}

void VulkanRecorder::Barrier() { MemoryBarrier(kWork, kReads | kWrites); }

void VulkanRecorder::HostReadBarrier() { MemoryBarrier(VK_PIPELINE_STAGE_2_HOST_BIT, VK_ACCESS_2_HOST_READ_BIT); }

void VulkanRecorder::Copy(const VulkanBuffer& from, size_t from_offset, const VulkanBuffer& to, size_t to_offset,
                          size_t bytes) {
  LEM_CHECK(from_offset + bytes <= from.bytes() && to_offset + bytes <= to.bytes()) << bytes;
  if (!recording() || bytes == 0) return;
  const VkBufferCopy region{from.offset() + from_offset, to.offset() + to_offset, bytes};
  context_->api().vkCmdCopyBuffer(commands_.handle_, from.handle(), to.handle(), 1, &region);
}

void VulkanRecorder::Fill(const VulkanBuffer& buffer, size_t offset, size_t bytes, uint32_t value) {
  LEM_CHECK(offset + bytes <= buffer.bytes() && offset % 4 == 0 && bytes % 4 == 0) << offset << " " << bytes;
  if (!recording() || bytes == 0) return;
  context_->api().vkCmdFillBuffer(commands_.handle_, buffer.handle(), buffer.offset() + offset, bytes, value);
}

void VulkanRecorder::Dispatch(const VulkanPipelineKey& key, std::span<const std::byte> push, uint32_t x, uint32_t y,
                              uint32_t z) {
  LEM_CHECK(push.size() <= kMaxPushBytes && push.size() % 4 == 0) << push.size();
  if (std::ranges::find(keys_, key) == keys_.end()) keys_.push_back(key);
  if (!recording() || x == 0 || y == 0 || z == 0) return;
  const auto& limits = context_->info().max_workgroups;
  LEM_CHECK(x <= limits[0] && y <= limits[1] && z <= limits[2]) << x << " x " << y << " x " << z << " workgroups";
  const Result<VkPipeline> pipeline = context_->pipelines().Get(key);
  if (!pipeline.ok()) {
    status_ = pipeline.status();
    return;
  }
  const VulkanDeviceApi& api = context_->api();
  if (*pipeline != bound_) api.vkCmdBindPipeline(commands_.handle_, VK_PIPELINE_BIND_POINT_COMPUTE, *pipeline);
  bound_ = *pipeline;
  api.vkCmdPushConstants(commands_.handle_, context_->pipelines().layout(), VK_SHADER_STAGE_COMPUTE_BIT, 0,
                         static_cast<uint32_t>(push.size()), push.data());
  api.vkCmdDispatch(commands_.handle_, x, y, z);
  ++commands_.num_dispatches_;
}

Result<VulkanCommands> VulkanRecorder::Finish() && {
  LEM_TRY(std::move(status_));
  LEM_CHECK(commands_.handle_ != VK_NULL_HANDLE) << "a collecting recorder has nothing to finish";
  LEM_TRY(context_->Check(context_->api().vkEndCommandBuffer(commands_.handle_), "vkEndCommandBuffer"));
  return std::move(commands_);
}

}  // namespace lem
