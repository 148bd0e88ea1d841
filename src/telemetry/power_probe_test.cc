#include "telemetry/power_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "telemetry/recorded_tree.h"

namespace lem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using TimePoint = PowerProbe::TimePoint;

// A moment some seconds after an origin.
TimePoint At(double seconds) {
  return TimePoint() + std::chrono::duration_cast<TimePoint::duration>(std::chrono::duration<double>(1000 + seconds));
}

std::map<std::string, PowerReading> ById(const std::vector<PowerReading>& readings) {
  std::map<std::string, PowerReading> by_id;
  for (const PowerReading& reading : readings) EXPECT_TRUE(by_id.emplace(reading.id, reading).second) << reading.id;
  return by_id;
}

std::vector<std::string> Ids(const std::vector<PowerReading>& readings) {
  std::vector<std::string> ids;
  ids.reserve(readings.size());
  for (const PowerReading& reading : readings) ids.push_back(reading.id);
  return ids;
}

// Reads as a user who is not root, also where the tests run as root.
class AsNobody {
 public:
  AsNobody() {
    if (::geteuid() == 0) switched_ = ::seteuid(65534) == 0;
  }
  ~AsNobody() {
    if (switched_) EXPECT_EQ(::seteuid(0), 0);
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;

 private:
  bool switched_ = false;
};

constexpr char kPackageEnergy[] = "sys/class/powercap/intel-rapl:0/energy_uj";

TEST(PowerProbeTest, RyzenLaptop) {
  const RecordedTree tree("ryzen_apu_laptop");
  PowerProbe probe = PowerProbe::Open(tree.root());
  const std::vector<PowerReading> first = probe.Read(At(0));
  EXPECT_THAT(Ids(first), ElementsAre("rapl:package-0", "rapl:package-0/core", "amdgpu:0000:c4:00.0",
                                      "amdxdna:0000:c5:00.1"));  // the battery's sensor is no consumption
  std::map<std::string, PowerReading> by_id = ById(first);
  const PowerReading& package = by_id["rapl:package-0"];
  EXPECT_EQ(package.covers, "cpu package-0");
  EXPECT_EQ(package.source, PowerSource::kPackage);
  EXPECT_EQ(package.watts, std::nullopt);
  EXPECT_EQ(package.joules, 0);
  EXPECT_EQ(by_id["rapl:package-0/core"].covers, "cores of cpu package-0");
  EXPECT_EQ(by_id["rapl:package-0/core"].part_of, "rapl:package-0");
  EXPECT_EQ(by_id["rapl:package-0/core"].source, PowerSource::kRail);
  const PowerReading& graphics = by_id["amdgpu:0000:c4:00.0"];
  EXPECT_EQ(graphics.covers, "cpu package with gpu 0000:c4:00.0 (card1)");
  EXPECT_EQ(graphics.part_of, "rapl:package-0");
  EXPECT_EQ(graphics.source, PowerSource::kPackage);
  EXPECT_DOUBLE_EQ(*graphics.watts, 15.037);
  const PowerReading& npu = by_id["amdxdna:0000:c5:00.1"];
  EXPECT_EQ(npu.covers, "npu 0000:c5:00.1 (accel0)");
  EXPECT_EQ(npu.source, PowerSource::kUnavailable);
  EXPECT_THAT(npu.why_unavailable, HasSubstr("dev/accel/accel0"));

  tree.Write(kPackageEnergy, "52030000000\n");  // 30 J
  tree.Write("sys/class/hwmon/hwmon2/power1_input", "25037000\n");
  by_id = ById(probe.Read(At(2)));
  EXPECT_DOUBLE_EQ(*by_id["rapl:package-0"].watts, 15);
  EXPECT_DOUBLE_EQ(by_id["rapl:package-0"].joules, 30);
  EXPECT_DOUBLE_EQ(*by_id["amdgpu:0000:c4:00.0"].watts, 25.037);
  EXPECT_NEAR(by_id["amdgpu:0000:c4:00.0"].joules, 2 * 20.037, 1e-9);  // the trapezoid
}

TEST(PowerProbeTest, AnNpuWhoseNodeIsNoDevice) {
  const RecordedTree tree("ryzen_apu_laptop");
  tree.Write("dev/accel/accel0", "");
  PowerProbe probe = PowerProbe::Open(tree.root());
  EXPECT_THAT(probe.Read(At(0)).back().why_unavailable, StartsWith("no answer: the driver's sensor query failed"));
  tree.Write("sys/class/accel/accel0/device/power/runtime_status", "suspended\n");
  EXPECT_THAT(probe.Read(At(0)).back().why_unavailable, HasSubstr("the device sleeps"));
}

TEST(PowerProbeTest, IntelDesktop) {
  const RecordedTree tree("intel_desktop");
  PowerProbe probe = PowerProbe::Open(tree.root());
  const std::vector<PowerReading> first = probe.Read(At(0));
  EXPECT_THAT(Ids(first), ElementsAre("rapl:package-0", "rapl:package-0/core", "rapl:package-0/dram", "xe:0000:03:00.0",
                                      "xe:0000:03:00.0/pkg"));  // the same counter by MMIO is left out
  std::map<std::string, PowerReading> by_id = ById(first);
  EXPECT_EQ(by_id["rapl:package-0/dram"].covers, "memory of cpu package-0");
  EXPECT_EQ(by_id["rapl:package-0/dram"].source, PowerSource::kRail);
  EXPECT_EQ(by_id["rapl:package-0/dram"].part_of, "");  // a package's number does not hold its memory
  EXPECT_EQ(by_id["rapl:package-0"].part_of, "");
  EXPECT_EQ(by_id["xe:0000:03:00.0"].source, PowerSource::kBoard);
  EXPECT_EQ(by_id["xe:0000:03:00.0"].covers, "gpu 0000:03:00.0 (card0)");
  EXPECT_EQ(by_id["xe:0000:03:00.0/pkg"].source, PowerSource::kPackage);
  EXPECT_EQ(by_id["xe:0000:03:00.0/pkg"].part_of, "xe:0000:03:00.0");

  // 262.1 of 262.143 kJ: the counter goes on at 0.
  tree.Write(kPackageEnergy, "6671150\n");
  by_id = ById(probe.Read(At(1)));
  EXPECT_NEAR(by_id["rapl:package-0"].joules, 43.32885 + 6.67115, 1e-6);
  EXPECT_NEAR(*by_id["rapl:package-0"].watts, 50, 1e-6);
  EXPECT_EQ(by_id["rapl:package-0"].num_gaps, 0u);
}

TEST(PowerProbeTest, IntelLaptopWithPlatformCounter) {
  const RecordedTree tree("intel_laptop");
  const std::map<std::string, PowerReading> by_id = ById(PowerProbe::Open(tree.root()).Read(At(0)));
  ASSERT_EQ(by_id.size(), 4u);
  EXPECT_EQ(by_id.at("rapl:psys").source, PowerSource::kBoard);
  EXPECT_EQ(by_id.at("rapl:psys").covers, "platform");
  EXPECT_EQ(by_id.at("rapl:psys").part_of, "");
  EXPECT_EQ(by_id.at("rapl:package-0").part_of, "rapl:psys");
  EXPECT_EQ(by_id.at("rapl:package-0/uncore").covers, "uncore (graphics) of cpu package-0");
}

TEST(PowerProbeTest, AMachineWithoutSensorsSaysSo) {
  const RecordedTree tree("virtual_machine");
  PowerProbe probe = PowerProbe::Open(tree.root());
  for (int i = 0; i < 2; ++i) {
    const std::vector<PowerReading> readings = probe.Read(At(i));
    ASSERT_EQ(readings.size(), 1u);
    EXPECT_EQ(readings[0].id, "machine");
    EXPECT_EQ(readings[0].source, PowerSource::kUnavailable);
    EXPECT_EQ(readings[0].num_gaps, 0u);
    EXPECT_THAT(readings[0].why_unavailable, StartsWith("no sensor: "));
  }
  EXPECT_FALSE(PowerProbe::Open("/nonexistent").Read(At(0)).empty());
}

TEST(PowerProbeTest, WhatOnlyRootMayRead) {
  const RecordedTree tree("intel_laptop");
  for (const std::string_view zone : {"0", "0:0", "0:1", "1"}) {
    ::chmod((tree.root() / fmt::format("sys/class/powercap/intel-rapl:{}/energy_uj", zone)).c_str(), 0);
  }
  PowerProbe probe = PowerProbe::Open(tree.root());
  {
    const AsNobody nobody;
    for (const PowerReading& reading : probe.Read(At(0))) {
      EXPECT_EQ(reading.source, PowerSource::kUnavailable) << reading.id;
      EXPECT_EQ(reading.watts, std::nullopt);
      EXPECT_THAT(reading.why_unavailable, StartsWith("permission: "));
      EXPECT_THAT(reading.why_unavailable, HasSubstr("energy_uj"));
    }
  }
  ::chmod((tree.root() / kPackageEnergy).c_str(), 0444);  // as an administrator's rule does
  EXPECT_EQ(ById(probe.Read(At(1)))["rapl:package-0"].source, PowerSource::kPackage);
}

TEST(PowerProbeTest, SensorsThatGoAndComeBack) {
  const RecordedTree tree("intel_desktop");
  PowerProbe probe = PowerProbe::Open(tree.root());
  const auto card = [&](double seconds) { return ById(probe.Read(At(seconds)))["xe:0000:03:00.0"]; };
  const auto write = [&](std::string_view energy) { tree.Write("sys/class/hwmon/hwmon3/energy1_input", energy); };
  (void)card(0);
  write("25000000\n");
  EXPECT_DOUBLE_EQ(card(1).joules, 20);
  tree.Remove("sys/class/hwmon/hwmon3/energy1_input");
  for (int i = 2; i < 4; ++i) {
    const PowerReading gone = card(i);
    EXPECT_EQ(gone.source, PowerSource::kUnavailable);
    EXPECT_THAT(gone.why_unavailable, StartsWith("gone: "));
    EXPECT_EQ(gone.watts, std::nullopt);
    EXPECT_DOUBLE_EQ(gone.joules, 20);
    EXPECT_EQ(gone.num_gaps, 1u);
  }
  write("900000000\n");  // another start: what was used meanwhile is not known
  EXPECT_DOUBLE_EQ(card(4).joules, 20);
  write("901000000\n");
  const PowerReading back = card(5);
  EXPECT_DOUBLE_EQ(back.joules, 21);
  EXPECT_DOUBLE_EQ(*back.watts, 1);
  EXPECT_EQ(back.source, PowerSource::kBoard);
  EXPECT_THAT(back.why_unavailable, IsEmpty());
}

TEST(PowerProbeTest, ARestartedCounterIsNoWrap) {
  const RecordedTree tree("intel_desktop");
  PowerProbe probe = PowerProbe::Open(tree.root());
  const auto readings = [&](double seconds) { return ById(probe.Read(At(seconds))); };
  tree.Write(kPackageEnergy, "100000000000\n");
  (void)readings(0);
  tree.Write(kPackageEnergy, "5\n");  // as a wrap that would be 162 kJ in a second
  PowerReading package = readings(1)["rapl:package-0"];
  EXPECT_EQ(package.joules, 0);
  EXPECT_EQ(package.num_gaps, 1u);
  EXPECT_EQ(package.source, PowerSource::kPackage);
  tree.Write(kPackageEnergy, "7000005\n");
  package = readings(2)["rapl:package-0"];
  EXPECT_DOUBLE_EQ(package.joules, 7);
  EXPECT_DOUBLE_EQ(*package.watts, 7);
  // A counter without a known range that falls was restarted, too.
  tree.Write("sys/class/hwmon/hwmon3/energy1_input", "1\n");
  EXPECT_EQ(readings(3)["xe:0000:03:00.0"].num_gaps, 1u);
}

TEST(PowerProbeTest, GarbageIsUnavailable) {
  const RecordedTree tree("ryzen_apu_laptop");
  PowerProbe probe = PowerProbe::Open(tree.root());
  const std::string huge(1'000'000, '1');
  for (const std::string_view garbage :
       {std::string_view(), std::string_view("\n"), std::string_view("nan"), std::string_view("-5"),
        std::string_view("\0\0\0", 3), std::string_view(huge), std::string_view("99999999999999999999")}) {
    tree.Write(kPackageEnergy, garbage);
    tree.Write("sys/class/hwmon/hwmon2/power1_input", garbage);
    std::map<std::string, PowerReading> by_id = ById(probe.Read(At(0)));
    for (const char* id : {"rapl:package-0", "amdgpu:0000:c4:00.0"}) {
      EXPECT_EQ(by_id[id].source, PowerSource::kUnavailable) << garbage.substr(0, 30);
      EXPECT_LT(by_id[id].why_unavailable.size(), 400u);
      EXPECT_EQ(by_id[id].joules, 0);
    }
  }
  tree.Write("sys/class/hwmon/hwmon2/power1_input", "20000000001\n");  // more than 20 kW
  EXPECT_EQ(ById(probe.Read(At(1)))["amdgpu:0000:c4:00.0"].source, PowerSource::kUnavailable);
}

TEST(PowerProbeTest, GarbageInNamesAndRanges) {
  const RecordedTree tree("");
  const std::string huge(1'000'000, 'x');
  tree.Write("sys/class/powercap/intel-rapl:0/name", huge);
  tree.Write("sys/class/powercap/intel-rapl:0/energy_uj", "10\n");
  tree.Write("sys/class/powercap/intel-rapl:0/max_energy_range_uj", huge);
  tree.Write("sys/class/powercap/intel-rapl:1/energy_uj", "10\n");  // no name
  tree.Write("sys/class/powercap/intel-rapl:7:0/name", "core\n");   // no parent
  tree.Write("sys/class/powercap/intel-rapl:7:0/energy_uj", "10\n");
  tree.Write("sys/class/powercap/intel-rapl:2/name", "package-0\n");
  tree.Write("sys/class/powercap/intel-rapl:3/name", "package-0\n");  // twice
  tree.Write("sys/class/hwmon/hwmon0/name", "\x1b]0;title\x07\n");
  tree.Write("sys/class/hwmon/hwmon0/power1_input", "1000000\n");
  tree.Write("sys/class/hwmon/hwmon0/power99999999999999999999_input", "1000000\n");
  tree.Write("sys/class/hwmon/hwmon1/power1_input", "1000000\n");  // no name
  PowerProbe probe = PowerProbe::Open(tree.root());
  EXPECT_THAT(Ids(probe.Read(At(0))),
              ElementsAre("rapl:" + std::string(64, 'x'), "rapl:package-0", "rapl:package-0#2",
                          "hwmon:?]0;title?/power1", "hwmon:?]0;title?/power99999999999999999999"));
}

TEST(PowerProbeTest, EachDriverItsExtent) {
  const RecordedTree tree("");
  const auto monitor = [&](int number, std::string_view driver, std::string_view file, std::string_view label) {
    const std::string folder = fmt::format("sys/class/hwmon/hwmon{}/", number);
    tree.Write(folder + "name", driver);
    tree.Write(fmt::format("{}{}", folder, file), "1000000\n");
    const std::string_view key = file.substr(0, file.find('_'));
    if (!label.empty()) tree.Write(fmt::format("{}{}_label", folder, key), label);
  };
  for (const int pci : {0, 5, 6}) {
    tree.Link(fmt::format("sys/class/hwmon/hwmon{}/device", pci), "../../../0000:03:00.0");
  }
  monitor(0, "amdgpu", "power1_average", "PPT");
  monitor(0, "amdgpu", "power1_input", "PPT");  // the same channel
  monitor(1, "amd_energy", "energy1_input", "Ecore000");
  monitor(1, "amd_energy", "energy2_input", "Esocket0");
  monitor(2, "zenpower", "power1_input", "SVI2_P_Core");
  monitor(3, "power_meter", "power1_average", "");
  monitor(4, "ina3221", "power1_input", "VDD_CPU");
  monitor(5, "i915", "energy1_input", "");
  monitor(6, "i915_gt0", "energy1_input", "");
  const std::map<std::string, PowerReading> by_id = ById(PowerProbe::Open(tree.root()).Read(At(0)));
  ASSERT_EQ(by_id.size(), 7u);
  const auto expect = [&](const char* id, PowerSource source, std::string_view covers) {
    ASSERT_TRUE(by_id.contains(id)) << id;
    EXPECT_EQ(by_id.at(id).source, source) << id;
    EXPECT_EQ(by_id.at(id).covers, covers) << id;
  };
  expect("amdgpu:0000:03:00.0", PowerSource::kPackage, "gpu 0000:03:00.0");  // a card: it has no north bridge
  expect("hwmon:amd_energy/Esocket0", PowerSource::kPackage, "cpu package 0");
  expect("hwmon:zenpower/SVI2_P_Core", PowerSource::kRail, "SVI2_P_Core of zenpower");
  expect("hwmon:power_meter/power1", PowerSource::kBoard, "whole machine (ACPI power meter)");
  expect("hwmon:ina3221/VDD_CPU", PowerSource::kRail, "VDD_CPU of ina3221");
  expect("i915:0000:03:00.0", PowerSource::kPackage, "gpu 0000:03:00.0");
  expect("i915_gt0:0000:03:00.0", PowerSource::kRail, "i915_gt0 of gpu 0000:03:00.0");
}

TEST(PowerProbeTest, ShortTimesDoNotGiveWatts) {
  const RecordedTree tree("intel_desktop");
  PowerProbe probe = PowerProbe::Open(tree.root());
  const auto package = [&](double seconds, int64_t microjoules) {
    tree.Write(kPackageEnergy, fmt::format("{}\n", microjoules));
    return ById(probe.Read(At(seconds)))["rapl:package-0"];
  };
  (void)package(0, 0);
  EXPECT_EQ(package(0.001, 1'000'000).watts, std::nullopt);  // a step of the counter, not 1000 W
  EXPECT_DOUBLE_EQ(package(0.5, 5'000'000).watts.value(), 10);
  EXPECT_DOUBLE_EQ(package(0.501, 6'000'000).watts.value(), 10);
  EXPECT_DOUBLE_EQ(package(0.5, 6'000'000).watts.value(), 10);  // a clock that goes back
  EXPECT_DOUBLE_EQ(package(1, 7'500'000).watts.value(), 5);
  EXPECT_DOUBLE_EQ(package(1, 7'500'000).joules, 7.5);
}

TEST(PowerProbeTest, ReadersOfSeveralThreads) {
  const RecordedTree tree("ryzen_apu_laptop");
  PowerProbe probe = PowerProbe::Open(tree.root());
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 50; ++k) EXPECT_EQ(probe.Read(std::chrono::steady_clock::now()).size(), 4u);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(EnergyMeterTest, EnergyOfATime) {
  const RecordedTree tree("ryzen_apu_laptop");
  PowerProbe probe = PowerProbe::Open(tree.root());
  (void)probe.Read(At(-10));
  tree.Write(kPackageEnergy, "52010000000\n");
  tree.Write("sys/class/hwmon/hwmon2/power1_input", "10000000\n");
  EnergyMeter meter(probe, At(0));
  tree.Write("sys/class/hwmon/hwmon2/power1_input", "30000000\n");
  meter.Sample(At(1));  // 20 J
  tree.Write("sys/class/hwmon/hwmon2/power1_input", "10000000\n");
  tree.Write(kPackageEnergy, "52050000000\n");
  const std::vector<EnergyUse> uses = meter.Read(At(3));  // 40 J
  ASSERT_EQ(uses.size(), 4u);
  EXPECT_EQ(uses[0].id, "rapl:package-0");
  EXPECT_DOUBLE_EQ(uses[0].joules, 40);  // not the 10 J before
  EXPECT_EQ(uses[0].source, PowerSource::kPackage);
  EXPECT_EQ(uses[1].part_of, "rapl:package-0");
  EXPECT_EQ(uses[2].id, "amdgpu:0000:c4:00.0");
  EXPECT_NEAR(uses[2].joules, 60, 1e-9);
  EXPECT_EQ(uses[3].source, PowerSource::kUnavailable);
  EXPECT_EQ(uses[3].joules, 0);
  EXPECT_THAT(uses[3].why_unavailable, StartsWith("gone: "));
  EXPECT_NEAR(meter.Read(At(4))[2].joules, 70, 1e-9);  // it goes on
}

TEST(EnergyMeterTest, AGapMakesTheEnergyUnavailable) {
  const RecordedTree tree("ryzen_apu_laptop");
  PowerProbe probe = PowerProbe::Open(tree.root());
  EnergyMeter meter(probe, At(0));
  tree.Write(kPackageEnergy, "garbage");
  meter.Sample(At(1));
  tree.Write(kPackageEnergy, "52060000000\n");
  std::vector<EnergyUse> uses = meter.Read(At(2));
  EXPECT_EQ(uses[0].source, PowerSource::kUnavailable);
  EXPECT_EQ(uses[0].joules, 0);
  EXPECT_EQ(uses[0].why_unavailable, "lost or restarted meanwhile");
  EXPECT_EQ(uses[1].source, PowerSource::kRail);
}

TEST(PowerSourceTest, Names) {
  EXPECT_EQ(PowerSourceName(PowerSource::kUnavailable), "unavailable");
  EXPECT_EQ(PowerSourceName(PowerSource::kRail), "rail");
  EXPECT_EQ(PowerSourceName(PowerSource::kPackage), "package");
  EXPECT_EQ(PowerSourceName(PowerSource::kBoard), "board");
}

}  // namespace
}  // namespace lem
