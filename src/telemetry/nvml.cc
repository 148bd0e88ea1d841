// NVML: energy and power of NVIDIA's cards by the driver's library, loaded at run time. Tried with a stand-in library
// only; not run on a card.
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <memory>

#include "telemetry/power_sensor.h"
#include "telemetry/sysfs.h"

namespace lem {
namespace {

// What is needed of the library's interface, which is stable: all functions give 0 or an error's number.
using NvmlDevice = void*;
constexpr int kNvmlSuccess = 0;
constexpr int kNvmlNotSupported = 3;
constexpr int kNvmlNoPermission = 4;
constexpr int kNvmlDriverNotLoaded = 9;
constexpr int kNvmlGpuIsLost = 15;
constexpr unsigned kMaxCards = 64;

struct Nvml {
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*device_count)(unsigned*) = nullptr;
  int (*device_by_index)(unsigned, NvmlDevice*) = nullptr;
  int (*device_name)(NvmlDevice, char*, unsigned) = nullptr;
  int (*total_energy_mj)(NvmlDevice, unsigned long long*) = nullptr;  // since the driver was loaded; Volta and later
  int (*power_mw)(NvmlDevice, unsigned*) = nullptr;
};

template <typename Function>
bool Load(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  return function != nullptr;
}

Status NvmlStatus(int error, std::string_view call) {
  switch (error) {
    case kNvmlNoPermission:
      return PermissionDenied("permission: NVML does not let this user use {}", call);
    case kNvmlGpuIsLost:
      return NotFound("gone: NVML lost the card");
    case kNvmlDriverNotLoaded:
      return Unavailable("no answer: NVIDIA's driver is not loaded");
    default:
      return Unavailable("no answer: NVML's {} gave error {}", call, error);
  }
}

// Begins a session that lasts as long as anyone holds the result; the library stays loaded for good.
Result<std::shared_ptr<const Nvml>> StartNvml(const std::string& name) {
  void* library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return NotFound("no answer: {} cannot be loaded; install it with NVIDIA's driver", name);
  auto nvml = std::make_unique<Nvml>();
  if (!Load(library, "nvmlInit_v2", nvml->init) || !Load(library, "nvmlShutdown", nvml->shutdown) ||
      !Load(library, "nvmlDeviceGetCount_v2", nvml->device_count) ||
      !Load(library, "nvmlDeviceGetHandleByIndex_v2", nvml->device_by_index) ||
      !Load(library, "nvmlDeviceGetName", nvml->device_name) ||
      !Load(library, "nvmlDeviceGetTotalEnergyConsumption", nvml->total_energy_mj) ||
      !Load(library, "nvmlDeviceGetPowerUsage", nvml->power_mw)) {
    return Unavailable("no answer: {} lacks functions of NVML; install a newer driver", name);
  }
  if (const int error = nvml->init(); error != kNvmlSuccess) return NvmlStatus(error, "nvmlInit_v2");
  // Shared by the sensors of all cards.
  return std::shared_ptr<const Nvml>(nvml.release(), [](const Nvml* used) {
    used->shutdown();
    delete used;
  });
}

Result<PowerSample> ReadCard(const Nvml& nvml, NvmlDevice device) {
  unsigned long long energy_mj = 0;
  const int energy_error = nvml.total_energy_mj(device, &energy_mj);
  if (energy_error == kNvmlSuccess) return PowerSample{.energy_uj = uint64_t{energy_mj} * 1000};
  if (energy_error != kNvmlNotSupported) return NvmlStatus(energy_error, "nvmlDeviceGetTotalEnergyConsumption");
  unsigned power_mw = 0;
  const int error = nvml.power_mw(device, &power_mw);
  if (error != kNvmlSuccess) return NvmlStatus(error, "nvmlDeviceGetPowerUsage");
  return PowerSample{.energy_uj = std::nullopt, .watts = power_mw * 1e-3};
}

}  // namespace

std::vector<PowerSensor> FindNvml(const std::filesystem::path& root, const std::string& library) {
  std::vector<PowerSensor> sensors;
  if (library.empty()) return sensors;
  const Result<std::shared_ptr<const Nvml>> opened = StartNvml(library);
  unsigned num_cards = 0;
  Status status = opened.status();
  if (opened.ok()) {
    const int error = (*opened)->device_count(&num_cards);
    if (error != kNvmlSuccess) status = NvmlStatus(error, "nvmlDeviceGetCount_v2");
  }
  if (!status.ok()) {
    std::error_code error;
    const bool has_driver = std::filesystem::exists(root / "proc/driver/nvidia", error);
    if (has_driver || opened.ok()) sensors.push_back(UnreadableSensor("nvml", "NVIDIA gpus", status));
    return sensors;
  }
  for (unsigned i = 0; i < std::min(num_cards, kMaxCards); ++i) {
    NvmlDevice device = nullptr;
    const std::string id = fmt::format("nvml:{}", i);
    if (const int error = (*opened)->device_by_index(i, &device); error != kNvmlSuccess) {
      sensors.push_back(
          UnreadableSensor(id, fmt::format("gpu {}", i), NvmlStatus(error, "nvmlDeviceGetHandleByIndex_v2")));
      continue;
    }
    std::array<char, 96> name{};  // NVML's limit for names
    const bool has_name = (*opened)->device_name(device, name.data(), name.size() - 1) == kNvmlSuccess;
    PowerSensor sensor{.id = id,
                       .covers = has_name ? fmt::format("gpu {} ({})", i, name.data()) : fmt::format("gpu {}", i),
                       .source = PowerSource::kBoard};
    sensor.read = [nvml = *opened, device] { return ReadCard(*nvml, device); };
    sensors.push_back(std::move(sensor));
  }
  return sensors;
}

}  // namespace lem
