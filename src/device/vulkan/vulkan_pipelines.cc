#include "device/vulkan/vulkan_pipelines.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"

namespace lem {
namespace {

// Largest cache file that is read; a model needs tens of pipelines of some 10 KiB each.
constexpr size_t kMaxCacheBytes = size_t{64} << 20;

std::filesystem::path CacheFile(const std::filesystem::path& folder, const VulkanDeviceInfo& info) {
  if (folder.empty()) return {};
  return folder / fmt::format("vulkan-{}-{:08x}.pipelines", info.UuidHex(), info.driver_version_number);
}

// The file: kMagic, the SHA-256 of the rest in hex, the driver's data. Drivers do not check their own data for damage.
constexpr std::string_view kMagic = "lem-vulkan-pipelines 1\n";
constexpr size_t kHashChars = 64;

std::string HashOf(std::string_view data) {
  Sha256 hasher;
  hasher.Update(std::as_bytes(std::span(data)));
  return hasher.FinishHex();
}

// The driver's data. Errors: DataLoss (damaged or not such a file), or those of ReadFile.
Result<std::string> ReadCacheFile(const std::filesystem::path& path) {
  LEM_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxCacheBytes));
  const std::string_view all = text;
  const size_t header_bytes = kMagic.size() + kHashChars;
  if (all.size() < header_bytes || all.substr(0, kMagic.size()) != kMagic ||
      HashOf(all.substr(header_bytes)) != all.substr(kMagic.size(), kHashChars)) {
    return DataLoss("{} is damaged or was written by another version", path.string());
  }
  return text.substr(header_bytes);
}

// Vulkan's header of pipeline cache data names the device that wrote it. Drivers check it too, but not all well.
bool IsCacheOf(const VulkanDeviceInfo& info, std::string_view data) {
  VkPipelineCacheHeaderVersionOne header{};
  if (data.size() < sizeof(header)) return false;
  std::memcpy(&header, data.data(), sizeof(header));
  return header.headerSize == sizeof(header) && header.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
         header.vendorID == info.vendor_id && header.deviceID == info.device_id &&
         std::ranges::equal(header.pipelineCacheUUID, info.pipeline_cache_uuid);
}

}  // namespace

VulkanPipelines::VulkanPipelines(const VulkanDeviceInfo& info, VkDevice device, const VulkanDeviceApi& api,
                                 const std::filesystem::path& cache_folder, uint32_t required_subgroup_size)
    : info_(info),
      device_(device),
      api_(api),
      cache_file_(CacheFile(cache_folder, info)),
      required_subgroup_size_(required_subgroup_size) {
  init_status_ = Init();
}

VulkanPipelines::~VulkanPipelines() {
  if (const Status saved = SaveCache(); !saved.ok()) {
    LogWarning("compiled shaders are not kept for the next start: {}", saved.message());
  }
  for (const auto& [key, pipeline] : pipelines_) api_.vkDestroyPipeline(device_, pipeline, nullptr);
  for (const auto& [shader, module] : modules_) api_.vkDestroyShaderModule(device_, module, nullptr);
  if (cache_ != VK_NULL_HANDLE) api_.vkDestroyPipelineCache(device_, cache_, nullptr);
  if (layout_ != VK_NULL_HANDLE) api_.vkDestroyPipelineLayout(device_, layout_, nullptr);
}

Status VulkanPipelines::Init() {
  VkPushConstantRange range{};
  range.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  range.size = kMaxPushBytes;
  VkPipelineLayoutCreateInfo layout{};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  LEM_TRY(VulkanStatus(api_.vkCreatePipelineLayout(device_, &layout, nullptr, &layout_), "vkCreatePipelineLayout"));
  return InitCache();
}

Status VulkanPipelines::InitCache() {
  VkPipelineCacheCreateInfo create{};
  create.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  std::string data;
  if (!cache_file_.empty()) {
    Result<std::string> read = ReadCacheFile(cache_file_);
    if (read.ok() && IsCacheOf(info_, *read)) {
      data = std::move(*read);
    } else if (read.ok()) {
      LogWarning("{} is not a pipeline cache of {}; shaders are compiled anew", cache_file_.string(), info_.name);
    } else if (read.status().code() != StatusCode::kNotFound) {
      LogWarning("shaders are compiled anew: {}", read.status().message());
    }
  }
  create.initialDataSize = data.size();
  create.pInitialData = data.empty() ? nullptr : data.data();
  VkResult made = api_.vkCreatePipelineCache(device_, &create, nullptr, &cache_);
  cache_loaded_ = made == VK_SUCCESS && !data.empty();
  if (made != VK_SUCCESS && !data.empty()) {
    create.initialDataSize = 0;
    create.pInitialData = nullptr;
    made = api_.vkCreatePipelineCache(device_, &create, nullptr, &cache_);
  }
  return VulkanStatus(made, "vkCreatePipelineCache");
}

Result<VkShaderModule> VulkanPipelines::Module(VulkanShader shader) {
  if (const auto found = modules_.find(shader); found != modules_.end()) return found->second;
  const std::span<const uint32_t> code = VulkanShaderCode(shader);
  VkShaderModuleCreateInfo create{};
  create.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  create.codeSize = code.size_bytes();
  create.pCode = code.data();
  VkShaderModule module = VK_NULL_HANDLE;
  LEM_TRY(VulkanStatus(api_.vkCreateShaderModule(device_, &create, nullptr, &module), "vkCreateShaderModule"));
  modules_.emplace(shader, module);
  return module;
}

Result<VkPipeline> VulkanPipelines::Make(const VulkanPipelineKey& key, VkShaderModule module) {
  std::array<VkSpecializationMapEntry, kMaxSpecConstants> entries{};
  for (uint32_t i = 0; i < kMaxSpecConstants; ++i) entries[i] = {i, i * 4, 4};
  VkSpecializationInfo specialization{};
  specialization.mapEntryCount = kMaxSpecConstants;
  specialization.pMapEntries = entries.data();
  specialization.dataSize = sizeof(key.constants);
  specialization.pData = key.constants.data();

  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup{};
  subgroup.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO;
  subgroup.requiredSubgroupSize = required_subgroup_size_;
  VkComputePipelineCreateInfo create{};
  create.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  create.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  create.stage.pNext = required_subgroup_size_ != 0 ? &subgroup : nullptr;
  create.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  create.stage.module = module;
  create.stage.pName = "main";
  create.stage.pSpecializationInfo = &specialization;
  create.layout = layout_;
  VkPipeline pipeline = VK_NULL_HANDLE;
  const VkResult made = api_.vkCreateComputePipelines(device_, cache_, 1, &create, nullptr, &pipeline);
  if (made != VK_SUCCESS) {
    return VulkanStatus(made, "vkCreateComputePipelines")
        .WithContext(fmt::format("shader {}", VulkanShaderName(key.shader)));
  }
  return pipeline;
}

Result<VkPipeline> VulkanPipelines::Get(const VulkanPipelineKey& key) {
  if (!init_status_.ok()) return init_status_;
  VkShaderModule module = VK_NULL_HANDLE;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = pipelines_.find(key); found != pipelines_.end()) return found->second;
    LEM_ASSIGN_OR_RETURN(module, Module(key.shader));
  }
  // Outside the lock: compiling takes up to seconds, and other threads may compile others.
  LEM_ASSIGN_OR_RETURN(VkPipeline pipeline, Make(key, module));
  const std::lock_guard lock(mutex_);
  const auto [place, inserted] = pipelines_.emplace(key, pipeline);
  if (!inserted) api_.vkDestroyPipeline(device_, pipeline, nullptr);  // another thread was faster
  cache_changed_ = true;
  return place->second;
}

Status VulkanPipelines::Prepare(std::span<const VulkanPipelineKey> keys,
                                const std::function<void(size_t, size_t)>& progress) {
  for (size_t i = 0; i < keys.size(); ++i) {
    LEM_TRY(Get(keys[i]).status());
    if (progress) progress(i + 1, keys.size());
  }
  return OkStatus();
}

size_t VulkanPipelines::num_pipelines() const {
  const std::lock_guard lock(mutex_);
  return pipelines_.size();
}

Status VulkanPipelines::SaveCache() {
  const std::lock_guard lock(mutex_);
  if (cache_file_.empty() || !cache_changed_ || cache_ == VK_NULL_HANDLE) return OkStatus();
  size_t bytes = 0;
  LEM_TRY(VulkanStatus(api_.vkGetPipelineCacheData(device_, cache_, &bytes, nullptr), "vkGetPipelineCacheData"));
  std::string data(bytes, '\0');
  LEM_TRY(VulkanStatus(api_.vkGetPipelineCacheData(device_, cache_, &bytes, data.data()), "vkGetPipelineCacheData"));
  data.resize(bytes);
  std::error_code error;
  std::filesystem::create_directories(cache_file_.parent_path(), error);
  if (error) {
    return PermissionDenied("cannot make the folder {}: {}", cache_file_.parent_path().string(), error.message());
  }
  LEM_TRY(WriteFileAtomic(cache_file_, fmt::format("{}{}{}", kMagic, HashOf(data), data)));
  cache_changed_ = false;
  return OkStatus();
}

}  // namespace lem
