// The Vulkan functions this program calls, loaded at run time: nothing links to libvulkan. Only src/device/vulkan
// includes this. Tables are plain data, constant once loaded.
#pragma once

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"

#define LEM_VULKAN_GLOBAL_FUNCTIONS(X)      \
  X(vkEnumerateInstanceVersion)             \
  X(vkEnumerateInstanceLayerProperties)     \
  X(vkEnumerateInstanceExtensionProperties) \
  X(vkCreateInstance)

#define LEM_VULKAN_INSTANCE_FUNCTIONS(X)      \
  X(vkDestroyInstance)                        \
  X(vkEnumeratePhysicalDevices)               \
  X(vkGetPhysicalDeviceProperties2)           \
  X(vkGetPhysicalDeviceFeatures2)             \
  X(vkGetPhysicalDeviceMemoryProperties)      \
  X(vkGetPhysicalDeviceQueueFamilyProperties) \
  X(vkEnumerateDeviceExtensionProperties)     \
  X(vkCreateDevice)                           \
  X(vkGetDeviceProcAddr)

#define LEM_VULKAN_DEVICE_FUNCTIONS(X) \
  X(vkDestroyDevice)                   \
  X(vkDeviceWaitIdle)                  \
  X(vkGetDeviceQueue)                  \
  X(vkQueueSubmit2)                    \
  X(vkAllocateMemory)                  \
  X(vkFreeMemory)                      \
  X(vkMapMemory)                       \
  X(vkCreateBuffer)                    \
  X(vkDestroyBuffer)                   \
  X(vkBindBufferMemory)                \
  X(vkGetBufferMemoryRequirements)     \
  X(vkGetBufferDeviceAddress)          \
  X(vkCreateSemaphore)                 \
  X(vkDestroySemaphore)                \
  X(vkWaitSemaphores)                  \
  X(vkGetSemaphoreCounterValue)        \
  X(vkCreateShaderModule)              \
  X(vkDestroyShaderModule)             \
  X(vkCreatePipelineLayout)            \
  X(vkDestroyPipelineLayout)           \
  X(vkCreatePipelineCache)             \
  X(vkDestroyPipelineCache)            \
  X(vkGetPipelineCacheData)            \
  X(vkCreateComputePipelines)          \
  X(vkDestroyPipeline)                 \
  X(vkCreateCommandPool)               \
  X(vkDestroyCommandPool)              \
  X(vkAllocateCommandBuffers)          \
  X(vkBeginCommandBuffer)              \
  X(vkEndCommandBuffer)                \
  X(vkCmdBindPipeline)                 \
  X(vkCmdPushConstants)                \
  X(vkCmdDispatch)                     \
  X(vkCmdPipelineBarrier2)             \
  X(vkCmdCopyBuffer)                   \
  X(vkCmdFillBuffer)

namespace lem {

#define LEM_VULKAN_MEMBER(name) PFN_##name name = nullptr;
struct VulkanGlobalApi {
  LEM_VULKAN_GLOBAL_FUNCTIONS(LEM_VULKAN_MEMBER)
};
struct VulkanInstanceApi {
  LEM_VULKAN_INSTANCE_FUNCTIONS(LEM_VULKAN_MEMBER)
  PFN_vkCreateDebugUtilsMessengerEXT vkCreateDebugUtilsMessengerEXT = nullptr;    // null without the extension
  PFN_vkDestroyDebugUtilsMessengerEXT vkDestroyDebugUtilsMessengerEXT = nullptr;  // likewise
};
struct VulkanDeviceApi {
  LEM_VULKAN_DEVICE_FUNCTIONS(LEM_VULKAN_MEMBER)
  PFN_vkGetMemoryHostPointerPropertiesEXT vkGetMemoryHostPointerPropertiesEXT = nullptr;  // null without the extension
};
#undef LEM_VULKAN_MEMBER

// The loader library, opened once and kept for the life of the process: drivers do not like to be unloaded. Errors:
// Unavailable with a text that says what is missing.
Result<PFN_vkGetInstanceProcAddr> OpenVulkanLoader(const std::string& library);

// Keeps every library that `load` brings into the process loaded for good. Drivers leave threads and memory behind, so
// unloading them is a crash waiting to happen; and leak checkers can name what they know.
void KeepLibrariesLoadedBy(const std::function<void()>& load);

// Errors: Unavailable, naming the function that is missing.
Status LoadVulkanApi(PFN_vkGetInstanceProcAddr get, VulkanGlobalApi& api);
Status LoadVulkanApi(PFN_vkGetInstanceProcAddr get, VkInstance instance, VulkanInstanceApi& api);
Status LoadVulkanApi(PFN_vkGetDeviceProcAddr get, VkDevice device, VulkanDeviceApi& api);

// "VK_ERROR_DEVICE_LOST"; the number for values without a name here.
std::string VulkanResultName(VkResult result);
// OK for VK_SUCCESS; otherwise a Status naming the call: Unavailable "device lost", ResourceExhausted for memory,
// DeadlineExceeded for VK_TIMEOUT, Internal for the rest.
Status VulkanStatus(VkResult result, std::string_view call);

}  // namespace lem
