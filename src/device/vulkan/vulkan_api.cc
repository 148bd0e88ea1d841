#include "device/vulkan/vulkan_api.h"

#include <dlfcn.h>
#include <link.h>

#include <set>

namespace lem {
namespace {

// Vulkan's lookups return one type for all functions.
template <typename Function>
void Assign(Function& to, PFN_vkVoidFunction from) {
  to = reinterpret_cast<Function>(from);
}

// Paths of the libraries in the process.
std::set<std::string> LoadedLibraries() {
  std::set<std::string> paths;
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* into) {
        if (info->dlpi_name != nullptr && info->dlpi_name[0] != '\0') {
          static_cast<std::set<std::string>*>(into)->insert(info->dlpi_name);
        }
        return 0;
      },
      &paths);
  return paths;
}

Status MissingFunction(std::string_view name) {
  return Unavailable("the Vulkan driver does not offer {}; install a driver of Vulkan 1.3", name);
}

}  // namespace

Result<PFN_vkGetInstanceProcAddr> OpenVulkanLoader(const std::string& library) {
  void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = ::dlerror();
    return Unavailable("no Vulkan loader: {}; install libvulkan1 (the loader) and your GPU's Vulkan driver",
                       reason != nullptr ? reason : library);
  }
  void* symbol = ::dlsym(handle, "vkGetInstanceProcAddr");
  if (symbol == nullptr) return Unavailable("{} is not a Vulkan loader: it has no vkGetInstanceProcAddr", library);
  return reinterpret_cast<PFN_vkGetInstanceProcAddr>(symbol);
}

void KeepLibrariesLoadedBy(const std::function<void()>& load) {
  const std::set<std::string> before = LoadedLibraries();
  load();
  for (const std::string& path : LoadedLibraries()) {
    if (!before.contains(path)) (void)::dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
  }
}

#define LEM_VULKAN_LOAD(name)          \
  Assign(api.name, get(scope, #name)); \
  if (api.name == nullptr) return MissingFunction(#name);

Status LoadVulkanApi(PFN_vkGetInstanceProcAddr get, VulkanGlobalApi& api) {
  VkInstance scope = VK_NULL_HANDLE;
  LEM_VULKAN_GLOBAL_FUNCTIONS(LEM_VULKAN_LOAD)
  return OkStatus();
}

Status LoadVulkanApi(PFN_vkGetInstanceProcAddr get, VkInstance scope, VulkanInstanceApi& api) {
  LEM_VULKAN_INSTANCE_FUNCTIONS(LEM_VULKAN_LOAD)
  Assign(api.vkCreateDebugUtilsMessengerEXT, get(scope, "vkCreateDebugUtilsMessengerEXT"));
  Assign(api.vkDestroyDebugUtilsMessengerEXT, get(scope, "vkDestroyDebugUtilsMessengerEXT"));
  return OkStatus();
}

Status LoadVulkanApi(PFN_vkGetDeviceProcAddr get, VkDevice scope, VulkanDeviceApi& api) {
  LEM_VULKAN_DEVICE_FUNCTIONS(LEM_VULKAN_LOAD)
  Assign(api.vkGetMemoryHostPointerPropertiesEXT, get(scope, "vkGetMemoryHostPointerPropertiesEXT"));
  return OkStatus();
}

std::string VulkanResultName(VkResult result) {
#define LEM_VULKAN_RESULT(name) \
  case name:                    \
    return #name;
  switch (static_cast<int>(result)) {
    LEM_VULKAN_RESULT(VK_SUCCESS)
    LEM_VULKAN_RESULT(VK_NOT_READY)
    LEM_VULKAN_RESULT(VK_TIMEOUT)
    LEM_VULKAN_RESULT(VK_INCOMPLETE)
    LEM_VULKAN_RESULT(VK_ERROR_OUT_OF_HOST_MEMORY)
    LEM_VULKAN_RESULT(VK_ERROR_OUT_OF_DEVICE_MEMORY)
    LEM_VULKAN_RESULT(VK_ERROR_INITIALIZATION_FAILED)
    LEM_VULKAN_RESULT(VK_ERROR_DEVICE_LOST)
    LEM_VULKAN_RESULT(VK_ERROR_MEMORY_MAP_FAILED)
    LEM_VULKAN_RESULT(VK_ERROR_LAYER_NOT_PRESENT)
    LEM_VULKAN_RESULT(VK_ERROR_EXTENSION_NOT_PRESENT)
    LEM_VULKAN_RESULT(VK_ERROR_FEATURE_NOT_PRESENT)
    LEM_VULKAN_RESULT(VK_ERROR_INCOMPATIBLE_DRIVER)
    LEM_VULKAN_RESULT(VK_ERROR_TOO_MANY_OBJECTS)
    LEM_VULKAN_RESULT(VK_ERROR_INVALID_EXTERNAL_HANDLE)
    LEM_VULKAN_RESULT(VK_ERROR_UNKNOWN)
    default:
      return std::to_string(static_cast<int>(result));
  }
#undef LEM_VULKAN_RESULT
}

Status VulkanStatus(VkResult result, std::string_view call) {
  switch (static_cast<int>(result)) {
    case VK_SUCCESS:
      return OkStatus();
    case VK_ERROR_DEVICE_LOST:
      return Unavailable("device lost: {} answered {}", call, VulkanResultName(result));
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
    case VK_ERROR_MEMORY_MAP_FAILED:
      return ResourceExhausted("{} answered {}", call, VulkanResultName(result));
    case VK_TIMEOUT:
      return DeadlineExceeded("{} was not done in time", call);
    case VK_ERROR_INCOMPATIBLE_DRIVER:
    case VK_ERROR_INITIALIZATION_FAILED:
      return Unavailable("{} answered {}", call, VulkanResultName(result));
    default:
      return Internal("{} answered {}", call, VulkanResultName(result));
  }
}

}  // namespace lem
