// lem profile: measures the devices of this machine, so that placements can be chosen by predicted cost.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <thread>

#include "apps/lem/commands.h"
#include "apps/lem/terminal.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "device/machine.h"
#include "runtime/profile/device_power.h"
#include "runtime/profile/measured_machine.h"

namespace lem {
namespace {

struct ProfileFlags {
  std::vector<std::string> devices;
  double seconds = 38;
  int32_t threads = 0;
  bool json = false;
};

// A line that is drawn anew while the measurement goes on.
void ShowProgress(const std::string& what, double share) {
  if (::isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\r\033[K{:3.0f} %  {}", 100 * share, what);
  std::fflush(stderr);
}

void PrintCurves(std::string_view what, const std::vector<GemmCurve>& curves) {
  for (const GemmCurve& curve : curves) {
    fmt::print("  {:<6}", curve.weights);
    for (const RatePoint& point : curve.points) fmt::print(" {:.0f}: {:.3g}", point.rows, point.tflops * 1e3);
    fmt::print("  GFLOP/s by rows, {}\n", what);
  }
}

void PrintTable(const MeasuredMachine& machine) {
  for (size_t i = 0; i < machine.profile.devices.size(); ++i) {
    const DeviceProfile& device = machine.profile.devices[i];
    fmt::print("{:<14} {}\n", device.id, device.name);
    fmt::print("  reads weights at {:.1f} GB/s, begins work in {:.3g} us, fits its measurements to {:.0f} %\n",
               device.bandwidth_gbs, device.launch_us, 100 * machine.fit_error[i]);
    if (device.power.source == PowerSource::kUnavailable) {
      fmt::print("  power unavailable\n");
    } else {
      fmt::print("  {:.1f} W waiting, {:.1f} W working ({})\n", device.power.idle_w, device.power.busy_w,
                 PowerSourceName(device.power.source));
    }
    PrintCurves("prompts", device.gemm);
    PrintCurves("answers", device.answer_gemm);
    PrintCurves("attention of prompts", {{"", device.attention[0]}});
    PrintCurves("attention of answers", {{"", device.attention[1]}});
  }
  for (const CopyRate& copy : machine.profile.copies) {
    fmt::print("copies from space {} to {}: {:.1f} GB/s, {:.0f} us\n", copy.from, copy.to, copy.gbs, copy.latency_us);
  }
  if (machine.profile.dram_gbs > 0) {
    fmt::print("devices read at most {:.1f} GB/s together; halves of one product take {:.2f} times as long as alone\n",
               kDramShare * machine.profile.dram_gbs, machine.profile.corun_slowdown);
  }
}

// Energy from a moment on, of a machine that has sensors.
class PowerReader {
 public:
  PowerReader() : probe_(PowerProbe::Open()), meter_(probe_, Clock::now()) {}

  bool has_sensors() {
    return std::ranges::any_of(probe_.Read(Clock::now()),
                               [](const PowerReading& r) { return r.source != PowerSource::kUnavailable; });
  }
  void Begin() { meter_ = EnergyMeter(probe_, begin_ = Clock::now()); }
  void Sample() { meter_.Sample(Clock::now()); }
  PowerSpan Read() {
    const Clock::time_point now = Clock::now();
    return {meter_.Read(now), std::chrono::duration<double>(now - begin_).count()};
  }
  // What the machine takes when nothing is asked of it.
  PowerSpan ReadIdle() {
    if (!has_sensors()) return {};
    Begin();
    for (int i = 0; i < 10; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      Sample();
    }
    return Read();
  }

 private:
  using Clock = std::chrono::steady_clock;
  PowerProbe probe_;
  Clock::time_point begin_ = Clock::now();
  EnergyMeter meter_;
};

struct AllMeasurements {
  std::vector<DeviceMeasurements> devices;
  std::vector<DeviceCaps> caps;
  double reference_ms = 0;
  double corun_slowdown = 1;  // the worst of all pairs
  double joint_gbs = 0;       // the best
};

// The first of `devices` is the CPU. Others that cannot be measured are left out, and said.
Result<AllMeasurements> MeasureAll(const DeviceRegistry& devices, MemoryManager& memory, ThreadPool& pool,
                                   double seconds_per_device) {
  AllMeasurements all{.reference_ms = ReferenceMs(pool)};
  PowerReader power;
  const PowerSpan idle = power.ReadIdle();
  // Time that one device does not need is the next one's.
  double left_s = seconds_per_device * static_cast<double>(devices.devices().size());
  size_t devices_left = devices.devices().size();
  Device& cpu = *devices.devices().front();
  for (const auto& device : devices.devices()) {
    const auto begin = std::chrono::steady_clock::now();
    power.Begin();
    const ProfilerOptions options{.seconds_per_device = left_s / static_cast<double>(devices_left--),
                                  .on_progress = [&power](const std::string& what, double share) {
                                    ShowProgress(what, share);
                                    power.Sample();
                                  }};
    Result<DeviceMeasurements> measured = MeasureDevice(*device, devices, memory, pool, all.reference_ms, options);
    if (::isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K");
    left_s -= std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (!measured.ok()) {
      if (device.get() == &cpu) return measured.status();
      PrintLine(stderr, fmt::format("lem: {} is left out: {}", device->caps().id, measured.status().message()));
      continue;
    }
    measured->power = PowerOf(device->caps(), idle, power.Read());
    if (device.get() != &cpu) {
      LEM_ASSIGN_OR_RETURN(const JointMeasurement joint, MeasureJoint(*device, cpu, devices, memory));
      all.corun_slowdown = std::max(all.corun_slowdown, joint.slowdown);
      if (!measured->has_own_memory) all.joint_gbs = std::max(all.joint_gbs, joint.gbs);
    }
    all.devices.push_back(std::move(*measured));
    all.caps.push_back(device->caps());
  }
  return all;
}

Result<MeasuredMachine> MakeMachine(const AllMeasurements& all, DeviceClock clock) {
  LEM_ASSIGN_OR_RETURN(MeasuredMachine machine, MachineFrom(all.devices, all.caps, clock));
  machine.reference_ms = all.reference_ms;
  machine.measured_at = static_cast<int64_t>(std::time(nullptr));
  if (clock == DeviceClock::kVirtual) {
    machine.profile.corun_slowdown = 1;
    return machine;
  }
  machine.profile.corun_slowdown = all.corun_slowdown;
  if (all.joint_gbs > 0) {
    machine.profile.dram_gbs = std::max(all.joint_gbs, machine.profile.devices.front().bandwidth_gbs) / kDramShare;
  }
  return machine;
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
  std::erase(ids, "cpu");
  ids.insert(ids.begin(), "cpu");  // what the others are compared with
  DeviceRegistry devices;
  for (const std::string& id : ids) {
    LEM_ASSIGN_OR_RETURN(std::unique_ptr<Device> device, OpenDevice(id, host));
    devices.Add(std::move(device));
  }
  LEM_ASSIGN_OR_RETURN(const AllMeasurements all, MeasureAll(devices, *memory, pool, flags.seconds));
  for (const DeviceClock clock : {DeviceClock::kWall, DeviceClock::kVirtual}) {
    LEM_ASSIGN_OR_RETURN(const MeasuredMachine machine, MakeMachine(all, clock));
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
  command->add_option("--seconds", flags->seconds, "Time for each device; what one does not need is the next one's")
      ->check(CLI::Range(1.0, 600.0))
      ->capture_default_str();
  command->add_option("--threads", flags->threads, "Compute threads; 0 = one a processor")->check(CLI::Range(0, 1024));
  command->add_flag("--json", flags->json, "Print the profile as JSON");
  command->callback([flags, &action] { action = [flags] { return Finish(Profile(*flags)); }; });
}

}  // namespace lem
