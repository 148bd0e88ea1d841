// lem profile: measures the devices of this machine, so that placements can be chosen by predicted cost.
#include <unistd.h>

#include <chrono>
#include <memory>

#include "apps/lem/commands.h"
#include "apps/lem/terminal.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "device/machine.h"
#include "runtime/profile/measured_machine.h"

namespace lem {
namespace {

struct ProfileFlags {
  std::vector<std::string> devices;
  double seconds = 40;
  int32_t threads = 0;
  bool json = false;
};

// A line that is drawn anew while the measurement goes on.
void ShowProgress(const std::string& what, double share) {
  if (::isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\r\033[K{:3.0f} %  {}", 100 * share, what);
  std::fflush(stderr);
}

void PrintTable(const MeasuredMachine& machine) {
  for (size_t i = 0; i < machine.profile.devices.size(); ++i) {
    const DeviceProfile& device = machine.profile.devices[i];
    fmt::print("{:<14} {}\n", device.id, device.name);
    fmt::print("  reads weights at {:.1f} GB/s, begins work in {:.3g} us, fits its measurements to {:.0f} %\n",
               device.bandwidth_gbs, device.launch_us, 100 * machine.fit_error[i]);
    for (const GemmCurve& curve : device.gemm) {
      if (curve.weights.empty()) continue;
      fmt::print("  {:<6}", curve.weights);
      for (const RatePoint& point : curve.points) fmt::print(" {:.0f}: {:.3g}", point.rows, point.tflops * 1e3);
      fmt::print("  GFLOP/s by rows\n");
    }
  }
}

Status Profile(const ProfileFlags& flags) {
  if (!LogEnabled(LogLevel::kDebug)) SetLogLevel(LogLevel::kWarning);
  const KernelTable& kernels = BestKernelTable();
  ThreadPool pool(flags.threads);
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<MemoryManager> memory, MemoryManager::Create());
  const DeviceHost host{pool, kernels, *memory, CacheDir()};
  std::vector<std::string> ids = flags.devices;
  if (ids.empty()) {
    for (const DeviceCaps& caps : ListDevices(kernels).devices) ids.push_back(caps.id);
  }
  DeviceRegistry devices;
  std::erase(ids, "cpu");
  ids.insert(ids.begin(), "cpu");  // what the others are compared with
  std::vector<DeviceMeasurements> measured;
  double corun_slowdown = 1;
  const double reference_ms = ReferenceMs(pool);
  std::vector<DeviceCaps> caps;
  for (const std::string& id : ids) {
    LEM_ASSIGN_OR_RETURN(std::unique_ptr<Device> device, OpenDevice(id, host));
    devices.Add(std::move(device));
  }
  for (const auto& device : devices.devices()) {
    Device& opened = *device;
    const std::string& id = opened.caps().id;
    const ProfilerOptions options{.seconds_per_device = flags.seconds, .on_progress = ShowProgress};
    Result<DeviceMeasurements> result = MeasureDevice(opened, devices, *memory, pool, reference_ms, options);
    if (::isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K");
    if (!result.ok()) {
      if (id == "cpu") return result.status();
      PrintLine(stderr, fmt::format("lem: {} is left out: {}", id, result.status().message()));
      continue;
    }
    if (id != "cpu") {
      LEM_ASSIGN_OR_RETURN(const double joint, MeasureJoint(opened, *devices.devices().front(), devices, *memory));
      corun_slowdown = std::max(corun_slowdown, joint);
    }
    measured.push_back(std::move(*result));
    caps.push_back(opened.caps());
  }
  for (const DeviceClock clock : {DeviceClock::kWall, DeviceClock::kVirtual}) {
    LEM_ASSIGN_OR_RETURN(MeasuredMachine machine, MachineFrom(measured, caps, clock));
    machine.reference_ms = reference_ms;
    machine.profile.corun_slowdown = clock == DeviceClock::kWall ? corun_slowdown : 1;
    LEM_TRY(SaveMachine(machine, ProfilesFolder(), clock));
    if (clock == DeviceClock::kVirtual) continue;
    if (flags.json) {
      PrintLine(stdout, WriteMachine(machine));
    } else {
      PrintTable(machine);
    }
  }
  return OkStatus();
}

}  // namespace

void RegisterProfile(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ProfileFlags>();  // shared by the parser and the action
  CLI::App* command = app.add_subcommand("profile", "Measure this machine's devices, for placements by predicted cost");
  command->add_option("--device", flags->devices, "Measure this one (and the CPU) only; may be repeated");
  command->add_option("--seconds", flags->seconds, "Time for each device")
      ->check(CLI::Range(1.0, 600.0))
      ->capture_default_str();
  command->add_option("--threads", flags->threads, "Compute threads; 0 = one a processor")->check(CLI::Range(0, 1024));
  command->add_flag("--json", flags->json, "Print the profile as JSON");
  command->callback([flags, &action] { action = [flags] { return Finish(Profile(*flags)); }; });
}

}  // namespace lem
