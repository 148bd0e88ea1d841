// What this machine is busy with right now: processors, memory, heat, battery, GPUs of amdgpu.
//
// Reads procfs and sysfs below a root folder ("/", or a recorded tree in tests). What a machine does not show is empty
// in the reading, never an error. Not thread-safe; a read costs about as many system calls as the machine has frequency
// domains and thermal zones, so call it a few times a second and not on the engine's thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lem {

// Shares of the last ten seconds, 0 to 1, in which tasks waited for a resource (the kernel's PSI).
struct Pressure {
  double some = 0;  // at least one task waited
  double full = 0;  // all tasks that had something to do waited; 0 where the kernel does not say
};

struct BatteryState {
  bool on_battery = false;        // no supply from outside
  std::optional<double> percent;  // of the charge; the mean of several batteries
  std::optional<double> watts;    // into (charging) or out of (discharging) all batteries, never negative
};

struct GpuLoad {
  std::string id;              // PCI address, or the card's name: "0000:03:00.0", "card1"
  std::optional<double> busy;  // share of the driver's last sampling period, 0 to 1
  std::optional<uint64_t> vram_used_bytes, vram_total_bytes, gtt_used_bytes;
};

struct LoadReading {
  // Shares of all processors' time since the read before (or the opening), 0 to 1; empty until 50 ms of processor time
  // have passed. The difference is what other processes (and other virtual machines on the host) took.
  std::optional<double> cpu_busy;
  std::optional<double> process_busy;
  std::optional<int> num_runnable;                 // tasks that run or want to, with the one that reads
  std::optional<uint64_t> memory_available_bytes;  // of the machine, see GetMemoryInfo for that of the cgroup
  std::optional<Pressure> cpu_pressure, memory_pressure;
  std::optional<double> cpu_mhz, cpu_max_mhz;  // means over the frequency domains; max: of the hardware
  std::optional<double> hottest_celsius;
  std::string hottest_zone;               // its kind: "x86_pkg_temp"
  std::optional<uint64_t> num_throttles;  // times that heat slowed a package down, all packages, since the opening
  std::optional<BatteryState> battery;    // empty: there is none
  std::vector<GpuLoad> gpus;
};

class LoadProbe {
 public:
  static LoadProbe Open(const std::filesystem::path& root = "/");

  LoadReading Read();

 private:
  // Counters of processor time in ticks.
  struct CpuTicks {
    uint64_t total = 0;
    uint64_t busy = 0;
    std::optional<uint64_t> process;
  };

  explicit LoadProbe(std::filesystem::path root);
  std::optional<CpuTicks> ReadTicks() const;
  std::optional<uint64_t> ReadThrottles() const;
  void ReadShares(LoadReading& reading);

  std::filesystem::path root_;
  std::vector<std::filesystem::path> throttle_counts_;  // one file for each package
  std::optional<uint64_t> first_throttles_;
  std::optional<CpuTicks> last_ticks_;
  std::optional<double> cpu_busy_, process_busy_;  // of the last interval that was long enough
};

}  // namespace lem
