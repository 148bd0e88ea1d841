#include "device/vulkan/vulkan_context.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/log.h"

namespace lem {
namespace {

// Bytes of the staging buffer of Write and Read.
constexpr size_t kStagingBytes = size_t{16} << 20;

// What suits the device where the options say nothing. Emulation runs 8 lanes at a time and pays for every workgroup.
VulkanTuning Tune(const VulkanDeviceInfo& info, VulkanTuning tuning) {
  const auto set = [](uint32_t& value, uint32_t chosen) {
    if (value == 0) value = chosen;
  };
  set(tuning.matvec_lanes, info.emulated ? 8 : 32);
  set(tuning.matvec_rows, info.emulated ? 8 : 4);
  set(tuning.matvec_max_cols, info.emulated ? 4 : 8);
  set(tuning.attention_lanes, 32);
  set(tuning.workgroup, info.emulated ? 32 : 128);
  return tuning;
}

}  // namespace

Result<std::unique_ptr<VulkanContext>> VulkanContext::Create(std::shared_ptr<VulkanInstance> instance,
                                                             size_t device_idx, const VulkanContextOptions& options) {
  LEM_CHECK(device_idx < instance->devices().size()) << device_idx;
  const VulkanDeviceInfo& info = instance->devices()[device_idx];
  if (!info.usable()) {
    return FailedPrecondition("{} cannot be used: {}", info.name, fmt::join(info.unmet, "; "));
  }
  std::unique_ptr<VulkanContext> context(new VulkanContext(std::move(instance), device_idx, options));
  LEM_TRY(context->Init(options));
  return context;
}

VulkanContext::VulkanContext(std::shared_ptr<VulkanInstance> instance, size_t device_idx,
                             const VulkanContextOptions& options)
    : instance_(std::move(instance)), info_(instance_->devices()[device_idx]), tuning_(Tune(info_, options.tuning)) {}

VulkanContext::~VulkanContext() {
  if (device_ == VK_NULL_HANDLE) return;
  if (api_.vkDeviceWaitIdle != nullptr) (void)api_.vkDeviceWaitIdle(device_);  // a lost device answers at once
  pipelines_.reset();
  memory_.reset();
  for (const Queue& queue : queues_) {
    if (queue.timeline != VK_NULL_HANDLE) api_.vkDestroySemaphore(device_, queue.timeline, nullptr);
  }
  if (api_.vkDestroyDevice != nullptr) api_.vkDestroyDevice(device_, nullptr);
}

Status VulkanContext::Init(const VulkanContextOptions& options) {
  if (options.required_subgroup_size != 0 &&
      (!info_.subgroup_size_control || options.required_subgroup_size < info_.min_subgroup_size ||
       options.required_subgroup_size > info_.max_subgroup_size)) {
    return InvalidArgument("subgroups of {} asked for; {} has {} to {}", options.required_subgroup_size, info_.name,
                           info_.min_subgroup_size, info_.max_subgroup_size);
  }
  LEM_TRY(CreateDevice());
  LEM_TRY(CreateTimelines());
  memory_ = std::make_unique<VulkanMemory>(instance_->api(), info_, device_, api_, options.memory);
  pipelines_ =
      std::make_unique<VulkanPipelines>(info_, device_, api_, options.cache_folder, options.required_subgroup_size);
  return OkStatus();
}

// The first family with compute; for transfers, one without compute and graphics if there is such: its copies run
// beside the kernels.
void VulkanContext::ChooseQueues() {
  const VulkanInstanceApi& api = instance_->api();
  uint32_t count = 0;
  api.vkGetPhysicalDeviceQueueFamilyProperties(info_.handle, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  api.vkGetPhysicalDeviceQueueFamilyProperties(info_.handle, &count, families.data());
  for (uint32_t i = count; i-- > 0;) {
    const VkQueueFlags flags = families[i].queueFlags;
    if ((flags & VK_QUEUE_COMPUTE_BIT) != 0) {
      queues_[0].family = i;
    } else if ((flags & VK_QUEUE_TRANSFER_BIT) != 0 && (flags & VK_QUEUE_GRAPHICS_BIT) == 0) {
      queues_[1].family = i;
      queues_[1].separate = true;
    }
  }
  if (!queues_[1].separate) queues_[1].family = queues_[0].family;
}

Status VulkanContext::CreateDevice() {
  ChooseQueues();
  const float priority = 1.0f;
  std::vector<VkDeviceQueueCreateInfo> queues;
  for (const Queue& queue : queues_) {
    if (!queues.empty() && !queue.separate) continue;
    VkDeviceQueueCreateInfo create{};
    create.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
    create.queueFamilyIndex = queue.family;
    create.queueCount = 1;
    create.pQueuePriorities = &priority;
    queues.push_back(create);
  }
  VkPhysicalDeviceVulkan13Features features13{};
  features13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
  features13.synchronization2 = VK_TRUE;
  features13.maintenance4 = VK_TRUE;  // workgroup sizes as specialisation constants
  features13.subgroupSizeControl = info_.subgroup_size_control ? VK_TRUE : VK_FALSE;
  VkPhysicalDeviceVulkan12Features features12{};
  features12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  features12.pNext = &features13;
  features12.bufferDeviceAddress = VK_TRUE;
  features12.scalarBlockLayout = VK_TRUE;
  features12.timelineSemaphore = VK_TRUE;
  features12.shaderFloat16 = info_.fp16_arithmetic ? VK_TRUE : VK_FALSE;
  VkPhysicalDeviceVulkan11Features features11{};
  features11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
  features11.pNext = &features12;
  features11.storageBuffer16BitAccess = VK_TRUE;
  VkPhysicalDeviceFeatures2 features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  features.pNext = &features11;
  features.features.shaderInt64 = VK_TRUE;

  std::vector<const char*> extensions;
  if (info_.host_import) extensions.push_back(VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME);
  VkDeviceCreateInfo create{};
  create.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  create.pNext = &features;
  create.queueCreateInfoCount = static_cast<uint32_t>(queues.size());
  create.pQueueCreateInfos = queues.data();
  create.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  create.ppEnabledExtensionNames = extensions.data();
  const VulkanInstanceApi& api = instance_->api();
  LEM_TRY(Check(api.vkCreateDevice(info_.handle, &create, nullptr, &device_), "vkCreateDevice"));
  LEM_TRY(LoadVulkanApi(api.vkGetDeviceProcAddr, device_, api_));
  for (Queue& queue : queues_) api_.vkGetDeviceQueue(device_, queue.family, 0, &queue.handle);
  return OkStatus();
}

Status VulkanContext::CreateTimelines() {
  for (Queue& queue : queues_) {
    VkSemaphoreTypeCreateInfo type{};
    type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
    type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
    VkSemaphoreCreateInfo create{};
    create.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
    create.pNext = &type;
    LEM_TRY(Check(api_.vkCreateSemaphore(device_, &create, nullptr, &queue.timeline), "vkCreateSemaphore"));
  }
  return OkStatus();
}

uint32_t VulkanContext::queue_family(VulkanQueueKind kind) const { return queues_[static_cast<size_t>(kind)].family; }

VulkanContext::Queue& VulkanContext::queue(VulkanQueueKind kind) { return queues_[static_cast<size_t>(kind)]; }

Status VulkanContext::Check(VkResult result, std::string_view call) {
  if (result == VK_ERROR_DEVICE_LOST && !lost_.exchange(true)) {
    LogError("{}: device lost in {}", info_.name, call);
  }
  return VulkanStatus(result, call);
}

Status VulkanContext::LostStatus() const { return Unavailable("device lost: {}", info_.name); }

Result<VulkanTicket> VulkanContext::Submit(const VulkanCommands& commands, std::span<const VulkanTicket> waits) {
  LEM_CHECK(commands.handle() != VK_NULL_HANDLE) << "nothing was recorded";
  if (lost()) return LostStatus();
  // Waits for no more than one value of each queue's timeline: the largest covers the others.
  std::array<uint64_t, 2> wait_values{};
  for (const VulkanTicket& wait : waits) {
    uint64_t& value = wait_values[static_cast<size_t>(wait.queue)];
    value = std::max(value, wait.value);
  }
  std::vector<VkSemaphoreSubmitInfo> wait_infos;
  for (size_t i = 0; i < queues_.size(); ++i) {
    if (wait_values[i] == 0) continue;
    VkSemaphoreSubmitInfo info{};
    info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO;
    info.semaphore = queues_[i].timeline;
    info.value = wait_values[i];
    info.stageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT;
    wait_infos.push_back(info);
  }
  VkCommandBufferSubmitInfo command_info{};
  command_info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO;
  command_info.commandBuffer = commands.handle();

  const std::lock_guard lock(submit_mutex_);
  if (submits_until_loss_.load() >= 0 && submits_until_loss_.fetch_sub(1) == 0) {
    return Check(VK_ERROR_DEVICE_LOST, "vkQueueSubmit2 (injected)");
  }
  Queue& target = queue(commands.queue());
  VkSemaphoreSubmitInfo signal{};
  signal.sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO;
  signal.semaphore = target.timeline;
  signal.value = target.last_value + 1;
  signal.stageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT;
  VkSubmitInfo2 submit{};
  submit.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2;
  submit.waitSemaphoreInfoCount = static_cast<uint32_t>(wait_infos.size());
  submit.pWaitSemaphoreInfos = wait_infos.data();
  submit.commandBufferInfoCount = 1;
  submit.pCommandBufferInfos = &command_info;
  submit.signalSemaphoreInfoCount = 1;
  submit.pSignalSemaphoreInfos = &signal;
  LEM_TRY(Check(api_.vkQueueSubmit2(target.handle, 1, &submit, VK_NULL_HANDLE), "vkQueueSubmit2"));
  target.last_value = signal.value;
  return VulkanTicket{commands.queue(), signal.value};
}

Status VulkanContext::Wait(VulkanTicket ticket, std::chrono::nanoseconds timeout) {
  if (lost()) return LostStatus();
  VkSemaphoreWaitInfo wait{};
  wait.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  wait.semaphoreCount = 1;
  wait.pSemaphores = &queue(ticket.queue).timeline;
  wait.pValues = &ticket.value;
  const auto nanoseconds = static_cast<uint64_t>(std::max<int64_t>(0, timeout.count()));
  LEM_TRY(Check(api_.vkWaitSemaphores(device_, &wait, nanoseconds), "vkWaitSemaphores"));
  return lost() ? LostStatus() : OkStatus();
}

bool VulkanContext::IsDone(VulkanTicket ticket) {
  uint64_t value = 0;
  if (lost()) return false;
  const VkResult result = api_.vkGetSemaphoreCounterValue(device_, queue(ticket.queue).timeline, &value);
  return Check(result, "vkGetSemaphoreCounterValue").ok() && value >= ticket.value;
}

Status VulkanContext::Run(const VulkanCommands& commands) {
  LEM_ASSIGN_OR_RETURN(const VulkanTicket ticket, Submit(commands));
  return Wait(ticket);
}

Status VulkanContext::Write(const VulkanBuffer& buffer, size_t offset, std::span<const std::byte> bytes) {
  LEM_CHECK(offset + bytes.size() <= buffer.bytes()) << offset << " + " << bytes.size();
  if (bytes.empty()) return OkStatus();
  if (buffer.host() != nullptr) {
    if (lost()) return LostStatus();
    std::memcpy(buffer.host() + offset, bytes.data(), bytes.size());
    return OkStatus();
  }
  LEM_ASSIGN_OR_RETURN(const VulkanBuffer staging,
                       memory_->Allocate(VulkanMemoryKind::kUpload, std::min(bytes.size(), kStagingBytes)));
  for (size_t done = 0; done < bytes.size(); done += staging.bytes()) {
    const size_t part = std::min(staging.bytes(), bytes.size() - done);
    std::memcpy(staging.host(), bytes.data() + done, part);
    LEM_TRY(CopyNow(staging, 0, buffer, offset + done, part));
  }
  return OkStatus();
}

Status VulkanContext::Read(const VulkanBuffer& buffer, size_t offset, std::span<std::byte> bytes) {
  LEM_CHECK(offset + bytes.size() <= buffer.bytes()) << offset << " + " << bytes.size();
  if (bytes.empty()) return OkStatus();
  if (buffer.host() != nullptr) {
    if (lost()) return LostStatus();
    std::memcpy(bytes.data(), buffer.host() + offset, bytes.size());
    return OkStatus();
  }
  LEM_ASSIGN_OR_RETURN(const VulkanBuffer staging,
                       memory_->Allocate(VulkanMemoryKind::kReadback, std::min(bytes.size(), kStagingBytes)));
  for (size_t done = 0; done < bytes.size(); done += staging.bytes()) {
    const size_t part = std::min(staging.bytes(), bytes.size() - done);
    LEM_TRY(CopyNow(buffer, offset + done, staging, 0, part));
    std::memcpy(bytes.data() + done, staging.host(), part);
  }
  return OkStatus();
}

Status VulkanContext::CopyNow(const VulkanBuffer& from, size_t from_offset, const VulkanBuffer& to, size_t to_offset,
                              size_t bytes) {
  LEM_ASSIGN_OR_RETURN(VulkanRecorder recorder, VulkanRecorder::Begin(*this));
  recorder.Copy(from, from_offset, to, to_offset, bytes);
  recorder.HostReadBarrier();
  LEM_ASSIGN_OR_RETURN(const VulkanCommands commands, std::move(recorder).Finish());
  return Run(commands);
}

}  // namespace lem
