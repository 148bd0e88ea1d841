#include "device/slowed_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "device/cpu/cpu_device.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

TEST(SlowedDeviceTest, ReadsWhatToRehearse) {
  const SlowDown all = *ParseSlowDown("vulkan:0=8@100+50");
  EXPECT_EQ(all.device_id, "vulkan:0");
  EXPECT_EQ(all.factor, 8);
  EXPECT_EQ(all.after, 100);
  EXPECT_EQ(all.submissions, 50);
  const SlowDown least = *ParseSlowDown("cpu=1.5");
  EXPECT_EQ(least.factor, 1.5);
  EXPECT_EQ(least.after, 0);
  EXPECT_EQ(least.submissions, -1);
  for (const char* wrong : {"", "cpu", "cpu=", "=3", "cpu=0.5", "cpu=nan", "cpu=2@-1", "cpu=2@1+x", "cpu=1e9"}) {
    const Result<SlowDown> read = ParseSlowDown(wrong);
    ASSERT_FALSE(read.ok()) << wrong;
    EXPECT_THAT(read.status().message(), testing::HasSubstr("DEVICE=FACTOR"));
  }
}

TEST(SlowedDeviceTest, IsTheOtherDeviceInAllButTime) {
  ThreadPool pool(1);
  const auto plain = MakeCpuDevice(pool, BestKernelTable());
  const auto slowed = MakeSlowedDevice(MakeCpuDevice(pool, BestKernelTable()), {"cpu", 2});
  EXPECT_EQ(slowed->caps().id, plain->caps().id);
  EXPECT_EQ(slowed->caps().decode_numerics, plain->caps().decode_numerics);
  EXPECT_TRUE(slowed->health().ok());
}

}  // namespace
}  // namespace lem
