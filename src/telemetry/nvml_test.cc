// NVML through a stand-in library that the build makes (fake_nvml.cc).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "telemetry/power_probe.h"
#include "telemetry/recorded_tree.h"

namespace lem {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

PowerProbe::TimePoint At(int seconds) { return PowerProbe::TimePoint(std::chrono::seconds(seconds)); }

class NvmlTest : public testing::Test {
 protected:
  void SetUp() override {
    Set("LEM_FAKE_NVML_ERROR", 0);
    Set("LEM_FAKE_NVML_ENERGY_MJ", 5'000'000);
    Set("LEM_FAKE_NVML_POWER_MW", 100'000);
  }
  static void Set(const char* variable, uint64_t value) { ::setenv(variable, std::to_string(value).c_str(), 1); }

  const RecordedTree tree_{""};
};

TEST_F(NvmlTest, CountersPowerAndRefusals) {
  PowerProbe probe = PowerProbe::Open(tree_.root(), LEM_FAKE_NVML);
  ASSERT_EQ(probe.Read(At(0)).size(), 3u);
  Set("LEM_FAKE_NVML_ENERGY_MJ", 5'001'400);
  Set("LEM_FAKE_NVML_POWER_MW", 200'000);
  const std::vector<PowerReading> cards = probe.Read(At(2));
  EXPECT_EQ(cards[0].id, "nvml:0");
  EXPECT_EQ(cards[0].covers, "gpu 0 (Fake H200)");
  EXPECT_EQ(cards[0].source, PowerSource::kBoard);
  EXPECT_NEAR(cards[0].joules, 1.4, 1e-9);
  EXPECT_NEAR(*cards[0].watts, 0.7, 1e-9);
  EXPECT_DOUBLE_EQ(*cards[1].watts, 200);
  EXPECT_DOUBLE_EQ(cards[1].joules, 300);
  EXPECT_EQ(cards[2].source, PowerSource::kUnavailable);
  EXPECT_THAT(cards[2].why_unavailable, StartsWith("permission: "));
}

TEST_F(NvmlTest, ALostCardIsUnavailable) {
  PowerProbe probe = PowerProbe::Open(tree_.root(), LEM_FAKE_NVML);
  (void)probe.Read(At(0));
  Set("LEM_FAKE_NVML_ERROR", 15);
  const PowerReading card = probe.Read(At(1)).front();
  EXPECT_EQ(card.source, PowerSource::kUnavailable);
  EXPECT_EQ(card.why_unavailable, "gone: NVML lost the card");
  EXPECT_EQ(card.num_gaps, 1u);
}

TEST_F(NvmlTest, NoLibraryMattersOnlyWhereThereIsADriver) {
  EXPECT_EQ(PowerProbe::Open(tree_.root(), "libno-such-nvml.so").Read(At(0)).front().id, "machine");
  EXPECT_EQ(PowerProbe::Open(tree_.root()).Read(At(0)).front().id, "machine");
  tree_.Write("proc/driver/nvidia/version", "NVRM version\n");
  const PowerReading reading = PowerProbe::Open(tree_.root(), "libno-such-nvml.so").Read(At(0)).front();
  EXPECT_EQ(reading.id, "nvml");
  EXPECT_THAT(reading.why_unavailable, HasSubstr("libno-such-nvml.so cannot be loaded"));
  Set("LEM_FAKE_NVML_ERROR", 9);
  EXPECT_EQ(PowerProbe::Open(tree_.root(), LEM_FAKE_NVML).Read(At(0)).front().why_unavailable,
            "no answer: NVIDIA's driver is not loaded");
}

}  // namespace
}  // namespace lem
