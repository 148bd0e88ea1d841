#include "telemetry/load_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "telemetry/recorded_tree.h"

namespace lem {
namespace {

TEST(LoadProbeTest, RyzenLaptop) {
  const RecordedTree tree("ryzen_apu_laptop");
  LoadProbe probe = LoadProbe::Open(tree.root());
  EXPECT_EQ(probe.Read().cpu_busy, std::nullopt);  // no time has passed
  // 400 ticks: 120 user, 20 nice, 40 system, 200 idle, 20 iowait; of them 100 of this process.
  tree.Write("proc/stat", "cpu  200120 1020 50040 700200 4020 0 1000 0 0 0\n");
  tree.Write("proc/self/stat",
             "4242 (lem serve) (x) R 1 4242 4242 0 -1 4194304 100 0 0 0 3090 510 0 0 20 0 4 0 100 1000000 500 1\n");
  const LoadReading load = probe.Read();
  EXPECT_DOUBLE_EQ(load.cpu_busy.value(), 0.45);
  EXPECT_DOUBLE_EQ(load.process_busy.value(), 0.25);
  EXPECT_EQ(load.num_runnable, 3);
  EXPECT_EQ(load.memory_available_bytes, uint64_t{20'000'000} * 1024);
  EXPECT_DOUBLE_EQ(load.cpu_pressure.value().some, 0.125);
  EXPECT_DOUBLE_EQ(load.memory_pressure.value().full, 0.001);
  EXPECT_DOUBLE_EQ(load.cpu_mhz.value(), 2500);
  EXPECT_DOUBLE_EQ(load.cpu_max_mhz.value(), 4200);
  EXPECT_DOUBLE_EQ(load.hottest_celsius.value(), 61);
  EXPECT_EQ(load.hottest_zone, "acpitz-cpu");
  EXPECT_EQ(load.num_throttles, std::nullopt);
  EXPECT_TRUE(load.battery.value().on_battery);
  EXPECT_DOUBLE_EQ(load.battery->percent.value(), 76);  // not the mouse's 5
  EXPECT_DOUBLE_EQ(load.battery->watts.value(), 14.2);
  ASSERT_EQ(load.gpus.size(), 1u);
  EXPECT_EQ(load.gpus[0].id, "0000:c4:00.0");
  EXPECT_DOUBLE_EQ(load.gpus[0].busy.value(), 0.37);
  EXPECT_EQ(load.gpus[0].vram_used_bytes, 412'000'256u);
  EXPECT_EQ(load.gpus[0].vram_total_bytes, 536'870'912u);
  EXPECT_EQ(load.gpus[0].gtt_used_bytes, 1'234'567'168u);
}

TEST(LoadProbeTest, ASleepingGpuIsNotAsked) {
  const RecordedTree tree("ryzen_apu_laptop");
  const std::string device = "sys/devices/pci0000:00/0000:c4:00.0/";
  tree.Write(device + "power/runtime_status", "suspended\n");
  EXPECT_EQ(LoadProbe::Open(tree.root()).Read().gpus.at(0).busy, 0);
  tree.Remove("sys/devices/pci0000:00/0000:c4:00.0");  // unplugged
  EXPECT_TRUE(LoadProbe::Open(tree.root()).Read().gpus.empty());
}

TEST(LoadProbeTest, ThrottlingIsCountedOnceAPackage) {
  const RecordedTree tree("intel_desktop");
  LoadProbe probe = LoadProbe::Open(tree.root());
  EXPECT_EQ(probe.Read().num_throttles, 0u);
  for (const int cpu : {0, 1}) {
    tree.Write(fmt::format("sys/devices/system/cpu/cpu{}/thermal_throttle/package_throttle_count", cpu), "20\n");
  }
  const LoadReading load = probe.Read();
  EXPECT_EQ(load.num_throttles, 3u);
  EXPECT_EQ(load.hottest_zone, "x86_pkg_temp");
  EXPECT_EQ(load.battery, std::nullopt);
  EXPECT_TRUE(load.gpus.empty());
}

TEST(LoadProbeTest, ChargingAtTheMains) {
  const RecordedTree tree("intel_laptop");
  LoadProbe probe = LoadProbe::Open(tree.root());
  const LoadReading load = probe.Read();
  EXPECT_FALSE(load.battery.value().on_battery);
  EXPECT_DOUBLE_EQ(load.battery->percent.value(), 70);
  EXPECT_DOUBLE_EQ(load.battery->watts.value(), 18);  // 1.5 A of 12 V
  tree.Write("sys/class/power_supply/AC/online", "0\n");
  tree.Write("sys/class/power_supply/BAT0/status", "Discharging\n");
  EXPECT_TRUE(probe.Read().battery.value().on_battery);
  tree.Remove("sys/class/power_supply/BAT0");
  tree.Remove("sys/class/power_supply/BAT1");
  EXPECT_EQ(probe.Read().battery, std::nullopt);
}

TEST(LoadProbeTest, VirtualMachine) {
  const RecordedTree tree("virtual_machine");
  LoadProbe probe = LoadProbe::Open(tree.root());
  tree.Write("proc/stat", "cpu  1000 0 500 8075 100 0 0 425 0 0\n");  // what the host took counts as busy
  const LoadReading load = probe.Read();
  EXPECT_DOUBLE_EQ(load.cpu_busy.value(), 0.25);
  EXPECT_DOUBLE_EQ(load.process_busy.value(), 0);
  EXPECT_EQ(load.num_runnable, 1);
  EXPECT_EQ(load.cpu_pressure, std::nullopt);
  EXPECT_EQ(load.cpu_mhz, std::nullopt);
  EXPECT_EQ(load.hottest_celsius, std::nullopt);
  EXPECT_EQ(load.battery, std::nullopt);
}

TEST(LoadProbeTest, TicksThatAreFewOrGoBack) {
  const RecordedTree tree("virtual_machine");
  LoadProbe probe = LoadProbe::Open(tree.root());
  tree.Write("proc/stat", "cpu  1050 0 500 8050 100 0 0 400\n");
  EXPECT_DOUBLE_EQ(probe.Read().cpu_busy.value(), 0.5);
  tree.Write("proc/stat", "cpu  1054 0 500 8050 100 0 0 400\n");  // 4 ticks: the last share stays
  EXPECT_DOUBLE_EQ(probe.Read().cpu_busy.value(), 0.5);
  tree.Write("proc/stat", "cpu  1049 0 500 8075 100 0 0 400\n");  // busy went back by one
  EXPECT_DOUBLE_EQ(probe.Read().cpu_busy.value(), 0);
  tree.Write("proc/stat", "cpu  10 0 5 80 1 0 0 4\n");  // another machine, after a restore
  EXPECT_EQ(probe.Read().cpu_busy, std::nullopt);
  tree.Write("proc/stat", "cpu  20 0 5 90 1 0 0 4\n");
  EXPECT_DOUBLE_EQ(probe.Read().cpu_busy.value(), 0.5);
}

TEST(LoadProbeTest, GarbageIsEmpty) {
  const RecordedTree tree("ryzen_apu_laptop");
  const std::string huge(1'000'000, '7');
  for (const std::string_view garbage :
       {std::string_view(), std::string_view("\n"), std::string_view("cpu"), std::string_view("cpu -1 2 3 4"),
        std::string_view("some avg10=nan"), std::string_view(")"), std::string_view("a b c d/e"),
        std::string_view(huge)}) {
    for (const char* path :
         {"proc/stat", "proc/self/stat", "proc/loadavg", "proc/meminfo", "proc/pressure/cpu", "proc/pressure/memory",
          "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq",
          "sys/devices/system/cpu/cpufreq/policy1/scaling_cur_freq", "sys/class/thermal/thermal_zone0/temp",
          "sys/class/thermal/thermal_zone1/temp", "sys/class/power_supply/BAT0/capacity",
          "sys/class/power_supply/BAT0/power_now", "sys/class/drm/card1/device/gpu_busy_percent",
          "sys/class/drm/card1/device/mem_info_vram_total"}) {
      tree.Write(path, garbage);
    }
    LoadProbe probe = LoadProbe::Open(tree.root());
    const LoadReading load = probe.Read();
    EXPECT_EQ(load.cpu_busy, std::nullopt);
    EXPECT_EQ(load.process_busy, std::nullopt);
    EXPECT_EQ(load.num_runnable, std::nullopt);
    EXPECT_EQ(load.memory_available_bytes, std::nullopt);
    EXPECT_EQ(load.cpu_pressure, std::nullopt);
    EXPECT_EQ(load.memory_pressure, std::nullopt);
    EXPECT_EQ(load.cpu_mhz, std::nullopt);
    EXPECT_EQ(load.hottest_celsius, std::nullopt);
    EXPECT_EQ(load.battery.value().percent, std::nullopt);
    EXPECT_EQ(load.battery->watts, std::nullopt);
    EXPECT_TRUE(load.gpus.empty());
  }
  EXPECT_EQ(LoadProbe::Open("/nonexistent").Read().cpu_busy, std::nullopt);
}

// This machine, which is busy with this test: the process's share is seen, and is no more than the machine's.
TEST(LoadProbeTest, ThisMachine) {
  LoadProbe probe = LoadProbe::Open();
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
  while (std::chrono::steady_clock::now() < end) {
  }
  const LoadReading load = probe.Read();
  if (!load.cpu_busy) GTEST_SKIP() << "no /proc/stat that counts";
  EXPECT_GT(load.process_busy.value(), 0);
  EXPECT_LE(load.process_busy.value(), *load.cpu_busy + 0.2);  // ticks of different clocks
  EXPECT_GE(load.num_runnable.value(), 1);
  EXPECT_GT(load.memory_available_bytes.value(), 0u);
}

}  // namespace
}  // namespace lem
