#include "device/npu/openvino/openvino_runtime.h"

#include <dlfcn.h>

#include <filesystem>

namespace lem {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPluginName = "liblem_npu_openvino.so";

Result<fs::path> FindPlugin(const std::string& path) {
  std::error_code error;
  if (!path.empty()) {
    if (fs::exists(path, error)) return fs::path(path);
    return Unavailable("there is no plug-in '{}'", path);
  }
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& place : {folder / kPluginName, folder.parent_path() / "lib/lemonade" / kPluginName}) {
    if (fs::exists(place, error)) return place;
  }
  return Unavailable("the plug-in {} is not built or not installed; README.md says how to build it", kPluginName);
}

}  // namespace

Result<const openvino::Runtime*> LoadOpenVinoRuntime(const std::string& path) {
  LEM_ASSIGN_OR_RETURN(const fs::path found, FindPlugin(path));
  void* library = ::dlopen(found.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = ::dlerror();
    return Unavailable("the plug-in cannot be loaded: {}", reason != nullptr ? reason : found.string());
  }
  void* symbol = ::dlsym(library, openvino::kEntryPoint);
  if (symbol == nullptr) return Unavailable("{} is no plug-in: it has no {}", found.string(), openvino::kEntryPoint);
  const openvino::Runtime* runtime = reinterpret_cast<openvino::EntryPoint>(symbol)(openvino::kAbiVersion);
  if (runtime == nullptr || runtime->abi_version != openvino::kAbiVersion) {
    return Unavailable(
        "the plug-in {} is of another version than this program, which needs its interface {}; build both "
        "from one source",
        found.string(), openvino::kAbiVersion);
  }
  return runtime;
}

Status OpenVinoStatus(openvino::Code code, const openvino::Error& error) {
  switch (code) {
    case openvino::Code::kOk:
    case openvino::Code::kFailed:
      break;
    case openvino::Code::kRefused:
      return Unimplemented("OpenVINO: {}", error.text);
    case openvino::Code::kDeviceLost:
      return Unavailable("OpenVINO: the device is lost: {}", error.text);
  }
  return Internal("OpenVINO: {}", error.text);
}

}  // namespace lem
