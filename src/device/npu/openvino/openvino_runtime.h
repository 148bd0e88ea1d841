// The OpenVINO plug-in as the program sees it: found and opened at run time, its errors turned into Status.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "device/npu/openvino/openvino_runtime_abi.h"

namespace lem {

// Opens the plug-in, for good. `path` empty: the file of the usual name beside the program, then in ../lib/lemonade.
// Errors: Unavailable in words (not built, cannot be loaded and why, another version).
Result<const openvino::Runtime*> LoadOpenVinoRuntime(const std::string& path);

// Unimplemented (refused), Unavailable (lost) or Internal. REQUIRES: code != kOk.
Status OpenVinoStatus(openvino::Code code, const openvino::Error& error);

struct OpenVinoDeviceCloser {
  const openvino::Runtime* runtime = nullptr;
  void operator()(openvino::DeviceHandle* device) const { runtime->close(device); }
};
struct OpenVinoGraphCloser {
  const openvino::Runtime* runtime = nullptr;
  void operator()(openvino::GraphHandle* graph) const { runtime->release(graph); }
};
using OpenVinoDeviceHandle = std::unique_ptr<openvino::DeviceHandle, OpenVinoDeviceCloser>;
using OpenVinoGraphHandle = std::unique_ptr<openvino::GraphHandle, OpenVinoGraphCloser>;

}  // namespace lem
