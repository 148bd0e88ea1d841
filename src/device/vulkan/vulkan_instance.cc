#include "device/vulkan/vulkan_instance.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <utility>

#include "base/log.h"

namespace lem {
namespace {

constexpr const char* kValidationLayer = "VK_LAYER_KHRONOS_validation";

// Two drivers of one GPU (two ICDs installed) report the same place on the PCI bus.
struct PciPlace {
  bool known = false;
  uint32_t domain = 0, bus = 0, device = 0, function = 0;
  bool operator==(const PciPlace&) const = default;
};

bool HasLayer(const VulkanGlobalApi& api, const char* name) {
  uint32_t count = 0;
  if (api.vkEnumerateInstanceLayerProperties(&count, nullptr) != VK_SUCCESS) return false;
  std::vector<VkLayerProperties> layers(count);
  if (api.vkEnumerateInstanceLayerProperties(&count, layers.data()) < VK_SUCCESS) return false;
  layers.resize(count);
  return std::ranges::any_of(layers, [&](const auto& layer) { return std::strcmp(layer.layerName, name) == 0; });
}

bool HasInstanceExtension(const VulkanGlobalApi& api, const char* layer, const char* name) {
  uint32_t count = 0;
  if (api.vkEnumerateInstanceExtensionProperties(layer, &count, nullptr) != VK_SUCCESS) return false;
  std::vector<VkExtensionProperties> extensions(count);
  if (api.vkEnumerateInstanceExtensionProperties(layer, &count, extensions.data()) < VK_SUCCESS) return false;
  extensions.resize(count);
  return std::ranges::any_of(extensions, [&](const auto& e) { return std::strcmp(e.extensionName, name) == 0; });
}

std::vector<std::string> DeviceExtensions(const VulkanInstanceApi& api, VkPhysicalDevice device) {
  uint32_t count = 0;
  if (api.vkEnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr) != VK_SUCCESS) return {};
  std::vector<VkExtensionProperties> extensions(count);
  if (api.vkEnumerateDeviceExtensionProperties(device, nullptr, &count, extensions.data()) < VK_SUCCESS) return {};
  extensions.resize(count);
  std::vector<std::string> names;
  names.reserve(extensions.size());
  for (const VkExtensionProperties& extension : extensions) names.emplace_back(extension.extensionName);
  return names;
}

// Drivers that run shaders on the host's processor, also where they call themselves something else than a CPU.
bool IsEmulated(const VkPhysicalDeviceProperties& properties) {
  if (properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU) return true;
  const std::string_view name = properties.deviceName;
  return std::ranges::any_of(std::array<std::string_view, 3>{"llvmpipe", "lavapipe", "SwiftShader"},
                             [&](std::string_view known) { return name.find(known) != std::string_view::npos; });
}

std::string VersionText(uint32_t version) {
  return fmt::format("{}.{}.{}", VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version),
                     VK_API_VERSION_PATCH(version));
}

struct Chain {
  VkPhysicalDeviceProperties2 properties{};
  VkPhysicalDeviceVulkan11Properties properties11{};
  VkPhysicalDeviceVulkan12Properties properties12{};
  VkPhysicalDeviceVulkan13Properties properties13{};
  VkPhysicalDeviceExternalMemoryHostPropertiesEXT import{};
  VkPhysicalDevicePCIBusInfoPropertiesEXT pci{};
  VkPhysicalDeviceFeatures2 features{};
  VkPhysicalDeviceVulkan11Features features11{};
  VkPhysicalDeviceVulkan12Features features12{};
  VkPhysicalDeviceVulkan13Features features13{};
};

void FillFromProperties(const Chain& chain, VulkanDeviceInfo& info) {
  const VkPhysicalDeviceProperties& p = chain.properties.properties;
  info.name = p.deviceName;
  info.vendor_id = p.vendorID;
  info.device_id = p.deviceID;
  info.driver_version_number = p.driverVersion;
  info.type = p.deviceType;
  info.emulated = IsEmulated(p);
  info.shares_memory = info.emulated || p.deviceType == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
  info.driver_name = chain.properties12.driverName;
  info.driver_version = chain.properties12.driverInfo;
  if (info.driver_version.empty()) info.driver_version = VersionText(p.driverVersion);
  std::copy_n(chain.properties11.deviceUUID, VK_UUID_SIZE, info.uuid.begin());
  std::copy_n(p.pipelineCacheUUID, VK_UUID_SIZE, info.pipeline_cache_uuid.begin());
  info.subgroup_size = chain.properties11.subgroupSize;
  info.min_subgroup_size = chain.properties13.minSubgroupSize;
  info.max_subgroup_size = chain.properties13.maxSubgroupSize;
  info.max_workgroup_size = std::min(p.limits.maxComputeWorkGroupInvocations, p.limits.maxComputeWorkGroupSize[0]);
  std::copy_n(p.limits.maxComputeWorkGroupCount, 3, info.max_workgroups.begin());
  info.shared_memory_bytes = p.limits.maxComputeSharedMemorySize;
  info.max_allocation_bytes = chain.properties11.maxMemoryAllocationSize;
  info.max_buffer_bytes = chain.properties13.maxBufferSize;
  info.timestamp_period_ns = p.limits.timestampPeriod;
  info.import_alignment = chain.import.minImportedHostPointerAlignment;
  info.int8_dot_product = chain.properties13.integerDotProduct4x8BitPackedSignedAccelerated == VK_TRUE;
}

void FillFromFeatures(const Chain& chain, VulkanDeviceInfo& info) {
  info.fp16_arithmetic = chain.features12.shaderFloat16 == VK_TRUE;
  info.subgroup_size_control = chain.features13.subgroupSizeControl == VK_TRUE &&
                               (chain.properties13.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0;
  const auto require = [&](VkBool32 has, std::string_view what) {
    if (has != VK_TRUE) info.unmet.push_back(fmt::format("the driver does not offer {}", what));
  };
  require(chain.features.features.shaderInt64, "64-bit integers in shaders (shaderInt64)");
  require(chain.features11.storageBuffer16BitAccess, "16-bit storage (storageBuffer16BitAccess)");
  require(chain.features12.bufferDeviceAddress, "buffer device addresses (bufferDeviceAddress)");
  require(chain.features12.scalarBlockLayout, "scalar block layout (scalarBlockLayout)");
  require(chain.features12.timelineSemaphore, "timeline semaphores (timelineSemaphore)");
  require(chain.features13.synchronization2, "synchronization2");
  require(chain.features13.maintenance4, "maintenance4");
  if (info.max_workgroup_size < 256) {
    info.unmet.push_back(fmt::format("workgroups have at most {} threads; needed are 256", info.max_workgroup_size));
  }
  if (info.shared_memory_bytes < 16384) {
    info.unmet.push_back(fmt::format("workgroups share at most {} bytes; needed are 16384", info.shared_memory_bytes));
  }
}

void FillHeaps(const VulkanInstanceApi& api, VulkanDeviceInfo& info) {
  VkPhysicalDeviceMemoryProperties memory{};
  api.vkGetPhysicalDeviceMemoryProperties(info.handle, &memory);
  for (uint32_t i = 0; i < memory.memoryHeapCount; ++i) {
    const VkMemoryHeap& heap = memory.memoryHeaps[i];
    uint64_t& largest =
        (heap.flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) != 0 ? info.device_local_bytes : info.host_heap_bytes;
    largest = std::max<uint64_t>(largest, heap.size);
  }
}

bool HasComputeQueue(const VulkanInstanceApi& api, VkPhysicalDevice device) {
  uint32_t count = 0;
  api.vkGetPhysicalDeviceQueueFamilyProperties(device, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  api.vkGetPhysicalDeviceQueueFamilyProperties(device, &count, families.data());
  return std::ranges::any_of(families, [](const auto& f) { return (f.queueFlags & VK_QUEUE_COMPUTE_BIT) != 0; });
}

std::pair<VulkanDeviceInfo, PciPlace> Describe(const VulkanInstanceApi& api, VkPhysicalDevice device) {
  VulkanDeviceInfo info;
  info.handle = device;
  const std::vector<std::string> extensions = DeviceExtensions(api, device);
  const auto has = [&](std::string_view name) { return std::ranges::find(extensions, name) != extensions.end(); };
  info.host_import = has(VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME);
  info.memory_budget = has(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  const bool has_pci = has(VK_EXT_PCI_BUS_INFO_EXTENSION_NAME);

  Chain chain;
  chain.properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  api.vkGetPhysicalDeviceProperties2(device, &chain.properties);
  info.api_version = chain.properties.properties.apiVersion;
  if (info.api_version < VK_API_VERSION_1_3) {  // the structs below would not be filled
    info.name = chain.properties.properties.deviceName;
    info.emulated = IsEmulated(chain.properties.properties);
    info.unmet.push_back(fmt::format("the driver offers Vulkan {}; needed is 1.3", VersionText(info.api_version)));
    return {info, PciPlace{}};
  }
  void** next = &chain.properties.pNext;
  const auto add = [&next](auto& part, VkStructureType type) {
    part.sType = type;
    *next = &part;
    next = &part.pNext;
  };
  add(chain.properties11, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES);
  add(chain.properties12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES);
  add(chain.properties13, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES);
  if (info.host_import) {
    add(chain.import, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT);
  }
  if (has_pci) add(chain.pci, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT);
  api.vkGetPhysicalDeviceProperties2(device, &chain.properties);

  chain.features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  next = &chain.features.pNext;
  add(chain.features11, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES);
  add(chain.features12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
  add(chain.features13, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES);
  api.vkGetPhysicalDeviceFeatures2(device, &chain.features);

  FillFromProperties(chain, info);
  FillFromFeatures(chain, info);
  FillHeaps(api, info);
  if (!HasComputeQueue(api, device)) info.unmet.emplace_back("the device has no compute queue");
  PciPlace place;
  if (has_pci) {
    place = {true, chain.pci.pciDomain, chain.pci.pciBus, chain.pci.pciDevice, chain.pci.pciFunction};
  }
  return {std::move(info), place};
}

}  // namespace

VulkanInstanceOptions VulkanOptionsFromEnvironment() {
  VulkanInstanceOptions options;
  const char* validation = std::getenv("LEM_VULKAN_VALIDATION");
  options.validation = validation != nullptr && std::string_view(validation) == "1";
  return options;
}

std::string VulkanDeviceInfo::UuidHex() const {
  std::string text;
  for (const uint8_t byte : uuid) text += fmt::format("{:02x}", byte);
  return text;
}

Result<std::shared_ptr<VulkanInstance>> VulkanInstance::Create(const VulkanInstanceOptions& options) {
  // Shared: every context of the instance keeps it alive.
  std::shared_ptr<VulkanInstance> instance(new VulkanInstance());
  LEM_TRY(instance->Init(options));
  return instance;
}

VulkanInstance::~VulkanInstance() {
  if (messenger_ != VK_NULL_HANDLE) api_.vkDestroyDebugUtilsMessengerEXT(instance_, messenger_, nullptr);
  if (instance_ != VK_NULL_HANDLE) api_.vkDestroyInstance(instance_, nullptr);
}

Status VulkanInstance::Init(const VulkanInstanceOptions& options) {
  LEM_ASSIGN_OR_RETURN(const PFN_vkGetInstanceProcAddr get, OpenVulkanLoader(options.library));
  VulkanGlobalApi global;
  LEM_TRY(LoadVulkanApi(get, global));
  uint32_t version = 0;
  LEM_TRY(VulkanStatus(global.vkEnumerateInstanceVersion(&version), "vkEnumerateInstanceVersion"));
  if (version < VK_API_VERSION_1_3) {
    return Unavailable("the Vulkan loader {} is of version {}; needed is 1.3: install a newer libvulkan1",
                       options.library, VersionText(version));
  }

  validation_ = options.validation && HasLayer(global, kValidationLayer);
  if (options.validation && !validation_) {
    LogWarning("Vulkan validation was asked for but the layer {} is not installed; going on without", kValidationLayer);
  }
  const VkValidationFeatureEnableEXT enabled[] = {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
  VkValidationFeaturesEXT validation_features{};
  validation_features.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT;
  validation_features.enabledValidationFeatureCount = 1;
  validation_features.pEnabledValidationFeatures = enabled;

  std::vector<const char*> extensions, layers;
  if (validation_) {
    layers.push_back(kValidationLayer);
    if (HasInstanceExtension(global, nullptr, VK_EXT_DEBUG_UTILS_EXTENSION_NAME)) {
      extensions.push_back(VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
    }
    if (HasInstanceExtension(global, kValidationLayer, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME)) {
      extensions.push_back(VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME);
    }
  }
  VkApplicationInfo application{};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pApplicationName = "Lemonade";
  application.apiVersion = VK_API_VERSION_1_3;
  VkInstanceCreateInfo create{};
  create.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  create.pNext = extensions.size() == 2 ? &validation_features : nullptr;
  create.pApplicationInfo = &application;
  create.enabledLayerCount = static_cast<uint32_t>(layers.size());
  create.ppEnabledLayerNames = layers.data();
  create.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  create.ppEnabledExtensionNames = extensions.data();
  VkResult created = VK_SUCCESS;
  KeepLibrariesLoadedBy([&] { created = global.vkCreateInstance(&create, nullptr, &instance_); });
  if (created == VK_ERROR_INCOMPATIBLE_DRIVER) {
    return Unavailable(
        "the Vulkan loader found no driver; install your GPU's Vulkan driver (mesa-vulkan-drivers for "
        "AMD, Intel and the software device)");
  }
  LEM_TRY(VulkanStatus(created, "vkCreateInstance"));
  LEM_TRY(LoadVulkanApi(get, instance_, api_));

  if (validation_ && api_.vkCreateDebugUtilsMessengerEXT != nullptr) {
    VkDebugUtilsMessengerCreateInfoEXT messenger{};
    messenger.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
    messenger.messageSeverity =
        VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
    messenger.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
    messenger.pfnUserCallback = OnMessage;
    messenger.pUserData = this;
    LEM_TRY(VulkanStatus(api_.vkCreateDebugUtilsMessengerEXT(instance_, &messenger, nullptr, &messenger_),
                         "vkCreateDebugUtilsMessengerEXT"));
  }
  return ListDevices();
}

VkBool32 VulkanInstance::OnMessage(VkDebugUtilsMessageSeverityFlagBitsEXT severity, VkDebugUtilsMessageTypeFlagsEXT,
                                   const VkDebugUtilsMessengerCallbackDataEXT* data, void* user) {
  static_cast<VulkanInstance*>(user)->num_messages_.fetch_add(1);
  const char* text = data->pMessage != nullptr ? data->pMessage : "(no text)";
  if (severity >= VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT) {
    LogError("Vulkan validation: {}", text);
  } else {
    LogWarning("Vulkan validation: {}", text);
  }
  return VK_FALSE;
}

Status VulkanInstance::ListDevices() {
  uint32_t count = 0;
  const VkResult counted = api_.vkEnumeratePhysicalDevices(instance_, &count, nullptr);
  if (counted == VK_ERROR_INITIALIZATION_FAILED) {
    return Unavailable("the Vulkan driver found no device it can start; check that this user may open /dev/dri");
  }
  LEM_TRY(VulkanStatus(counted, "vkEnumeratePhysicalDevices"));
  std::vector<VkPhysicalDevice> handles(count);
  const VkResult listed = api_.vkEnumeratePhysicalDevices(instance_, &count, handles.data());
  if (listed != VK_INCOMPLETE) LEM_TRY(VulkanStatus(listed, "vkEnumeratePhysicalDevices"));
  handles.resize(count);

  std::vector<PciPlace> places;
  for (VkPhysicalDevice handle : handles) {
    auto [info, place] = Describe(api_, handle);
    bool known = false;
    for (size_t i = 0; i < devices_.size() && !known; ++i) {
      const bool same_uuid = info.uuid == devices_[i].uuid && info.api_version >= VK_API_VERSION_1_3;
      known = same_uuid || (place.known && place == places[i]);
      // Of two drivers of one GPU, a usable one is kept before one that is not.
      if (known && info.usable() && !devices_[i].usable()) devices_[i] = info;
    }
    if (known) continue;
    devices_.push_back(std::move(info));
    places.push_back(place);
  }
  std::vector<VulkanDeviceInfo> sorted;
  for (const bool emulated : {false, true}) {
    std::ranges::copy_if(devices_, std::back_inserter(sorted),
                         [&](const VulkanDeviceInfo& info) { return info.emulated == emulated; });
  }
  devices_ = std::move(sorted);
  return OkStatus();
}

}  // namespace lem
