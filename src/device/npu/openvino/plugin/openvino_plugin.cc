// The plug-in itself: opens OpenVINO, compiles static graphs for its NPU or CPU, runs them on the caller's memory.
// Every exception ends here, as an error of the table's functions.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <mutex>
#include <openvino/openvino.hpp>
#include <openvino/runtime/intel_npu/properties.hpp>
#include <string>
#include <vector>

#include "device/npu/openvino/openvino_runtime_abi.h"
#include "device/npu/openvino/plugin/model_builder.h"

namespace lem::openvino {

struct DeviceHandle {
  std::shared_ptr<ov::Core> core;
  std::string name;  // "NPU", "CPU"
  ov::AnyMap config;
};

struct GraphHandle {
  ov::CompiledModel model;
  ov::InferRequest request;
  std::vector<ov::Output<const ov::Node>> inputs, outputs;
  int32_t num_inputs = 0, num_ropes = 0, num_masks = 0, num_attentions = 0;
  std::vector<const void*> bound;  // what the request's tensors wrap, inputs first
};

namespace {

// One of the process: devices share its plug-ins. Never destroyed, since the order of exits is not ours.
std::shared_ptr<ov::Core> TheCore() {
  static auto* const core = new std::shared_ptr<ov::Core>(std::make_shared<ov::Core>());
  return *core;
}

void Copy(std::string_view from, char* to, size_t size) {
  const size_t count = std::min(from.size(), size - 1);
  std::copy_n(from.begin(), count, to);
  to[count] = '\0';
}

Code Fail(Error* error, Code code, std::string_view text) {
  error->code = code;
  Copy(text, error->text, sizeof(error->text));
  return code;
}

// What NPU drivers say when the device is gone (results of Level Zero).
bool SaysLost(std::string_view text) {
  return text.find("DEVICE_LOST") != std::string_view::npos || text.find("0x70000001") != std::string_view::npos;
}

template <typename Body>
Code Guarded(Error* error, Code code, Body body) noexcept {
  try {
    body();
    return Code::kOk;
  } catch (const std::exception& exception) {
    return Fail(error, SaysLost(exception.what()) ? Code::kDeviceLost : code, exception.what());
  } catch (...) {
    return Fail(error, code, "an exception of unknown type");
  }
}

// The NPU's absence in words; empty if there is one.
std::string WhyNoNpu(ov::Core& core) {
  try {
    if (!core.get_property("NPU", ov::available_devices).empty()) return {};
    return "no NPU found";
  } catch (const std::exception& exception) {
    std::string why = exception.what();
    if (const size_t end = why.find_last_not_of(" \n\r\t"); end != std::string::npos) why.resize(end + 1);
    if (const size_t line = why.rfind('\n'); line != std::string::npos) why = why.substr(line + 1);
    return "no NPU found: " + why;
  }
}

template <typename T>
void Describe(ov::Core& core, const std::string& device, const ov::Property<T, ov::PropertyMutability::RO>& property,
              std::string& out) {
  std::string value;
  try {
    value = ov::Any(core.get_property(device, property)).template as<std::string>();
  } catch (const std::exception&) {
    value = "unknown";  // not every driver offers every property
  }
  out += std::string(property.name()) + '=' + value + ' ';
}

std::string ChooseDevice(ov::Core& core, const OpenOptions& options, DeviceDescription& out) {
  std::string device = options.device;
  if (device != "CPU") {
    const std::string why = WhyNoNpu(core);
    Copy(why, out.no_npu, sizeof(out.no_npu));
    if (device == "NPU" && !why.empty()) throw std::runtime_error(why);
    if (device.empty()) device = why.empty() ? "NPU" : "CPU";
  }
  Copy(device, out.device, sizeof(out.device));
  Copy(core.get_property(device, ov::device::full_name), out.full_name, sizeof(out.full_name));
  Copy(ov::get_openvino_version().buildNumber, out.runtime, sizeof(out.runtime));
  std::string properties;
  if (device == "NPU") {
    Describe(core, device, ov::device::architecture, properties);
    Describe(core, device, ov::intel_npu::driver_version, properties);
    Describe(core, device, ov::intel_npu::compiler_version, properties);
    Describe(core, device, ov::intel_npu::max_tiles, properties);
    Describe(core, device, ov::intel_npu::device_total_mem_size, properties);
  } else {
    for (const std::string& capability : core.get_property(device, ov::device::capabilities)) {
      properties += capability + ' ';
    }
  }
  if (!properties.empty()) properties.pop_back();
  Copy(properties, out.properties, sizeof(out.properties));
  return device;
}

ov::AnyMap ConfigOf(const std::string& device, const OpenOptions& options) {
  ov::AnyMap config{ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY), ov::hint::num_requests(1)};
  if (options.cache_folder[0] != '\0') config.insert(ov::cache_dir(options.cache_folder));
  if (device == "NPU") {
    // Its arithmetic is float16. Latency before energy; weights are loaded when a graph is first run, since graphs of
    // longer contexts are compiled ahead of need.
    config.insert(ov::intel_npu::turbo(true));
    config.insert(ov::intel_npu::defer_weights_load(true));
    config.insert(ov::intel_npu::compiler_dynamic_quantization(false));
    return config;
  }
  // Exact where the plug-in would round: activations stay float32 on processors with bfloat16 tiles, and are not
  // quantised for products with compressed weights.
  config.insert(ov::hint::inference_precision(ov::element::f32));
  config.insert(ov::hint::execution_mode(ov::hint::ExecutionMode::ACCURACY));
  config.insert(ov::hint::dynamic_quantization_group_size(0));
  config.insert(ov::hint::enable_cpu_pinning(false));
  config.insert(ov::num_streams(1));
  if (options.num_threads > 0) config.insert(ov::inference_num_threads(options.num_threads));
  return config;
}

Code DescribeDevice(const OpenOptions* options, DeviceDescription* out, Error* error) {
  return Guarded(error, Code::kRefused, [&] {
    *out = {};
    ChooseDevice(*TheCore(), *options, *out);
  });
}

Code Open(const OpenOptions* options, DeviceHandle** out, DeviceDescription* description, Error* error) {
  return Guarded(error, Code::kRefused, [&] {
    *description = {};
    auto device = std::make_unique<DeviceHandle>();
    device->core = TheCore();
    device->name = ChooseDevice(*device->core, *options, *description);
    device->config = ConfigOf(device->name, *options);
    *out = device.release();
  });
}

void Close(DeviceHandle* device) { delete device; }

// A cache that fails (a full disk, a folder that is gone) costs time and no more.
ov::CompiledModel CompileModel(const DeviceHandle& device, const std::shared_ptr<ov::Model>& model) {
  try {
    return device.core->compile_model(model, device.name, device.config);
  } catch (const std::exception&) {
    ov::AnyMap config = device.config;
    if (config.erase(ov::cache_dir.name()) == 0) throw;
    return device.core->compile_model(model, device.name, config);
  }
}

Code Compile(DeviceHandle* device, const Graph* graph, GraphHandle** out, CompiledDescription* description,
             Error* error) {
  return Guarded(error, Code::kRefused, [&] {
    const auto began = std::chrono::steady_clock::now();
    auto handle = std::make_unique<GraphHandle>();
    handle->model = CompileModel(*device, BuildModel(*graph));
    handle->request = handle->model.create_infer_request();
    handle->inputs = handle->model.inputs();
    handle->outputs = handle->model.outputs();
    handle->num_inputs = graph->num_inputs;
    handle->num_ropes = graph->num_ropes;
    handle->num_masks = graph->num_masks;
    handle->num_attentions = static_cast<int32_t>(std::count_if(
        graph->ops, graph->ops + graph->num_ops, [](const Op& each) { return each.kind == OpKind::kAttention; }));
    handle->bound.resize(handle->inputs.size() + handle->outputs.size());
    description->loaded_from_cache = handle->model.get_property(ov::loaded_from_cache) ? 1 : 0;
    description->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    *out = handle.release();
  });
}

void Release(GraphHandle* graph) { delete graph; }

// Tensors that wrap the caller's memory; a request keeps those that did not move.
void Bind(GraphHandle& graph, const Inference& tensors) {
  size_t next = 0;
  const auto bind = [&](const void* data) {
    const size_t i = next++;
    if (graph.bound[i] == data) return;
    const bool is_input = i < graph.inputs.size();
    const auto& port = is_input ? graph.inputs[i] : graph.outputs[i - graph.inputs.size()];
    graph.request.set_tensor(port, ov::Tensor(port.get_element_type(), port.get_shape(), const_cast<void*>(data)));
    graph.bound[i] = data;
  };
  for (int32_t i = 0; i < graph.num_inputs; ++i) bind(tensors.inputs[i]);
  for (int32_t i = 0; i < graph.num_ropes; ++i) {
    const float* cosines = tensors.ropes[i];
    bind(cosines);
    bind(cosines + ov::shape_size(graph.inputs[next - 1].get_shape()));
  }
  for (int32_t i = 0; i < graph.num_masks; ++i) bind(tensors.masks[i]);
  for (int32_t i = 0; i < graph.num_attentions; ++i) {
    bind(tensors.past_keys[i]);
    bind(tensors.past_values[i]);
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i) bind(tensors.outputs[i]);
}

Code Infer(GraphHandle* graph, const Inference* tensors, Error* error) {
  return Guarded(error, Code::kFailed, [&] {
    Bind(*graph, *tensors);
    graph->request.infer();
  });
}

constexpr Runtime kRuntime{kAbiVersion, DescribeDevice, Open, Close, Compile, Release, Infer};

}  // namespace
}  // namespace lem::openvino

extern "C" __attribute__((visibility("default"))) const lem::openvino::Runtime* lem_openvino_runtime(
    uint32_t abi_version) {
  return abi_version == lem::openvino::kAbiVersion ? &lem::openvino::kRuntime : nullptr;
}
