#include "base/cpu_info.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace lem {
namespace {

TEST(CpuInfoTest, AgreesWithTheKernel) {
  std::ifstream file("/proc/cpuinfo");
  std::string line, flags;
  while (std::getline(file, line)) {
    if (line.starts_with("flags")) flags = line + " ";
  }
  ASSERT_FALSE(flags.empty());
  const auto has = [&](const char* flag) { return flags.find(std::string(" ") + flag + " ") != std::string::npos; };
  const CpuInfo& info = GetCpuInfo();
  EXPECT_EQ(info.avx2, has("avx2") && has("fma") && has("f16c"));
  EXPECT_EQ(info.avx512, has("avx512f") && has("avx512bw") && has("avx512dq") && has("avx512vl"));
  EXPECT_EQ(info.avx512_vnni, has("avx512_vnni"));
  EXPECT_EQ(info.amx_int8, has("amx_int8"));
  EXPECT_GE(info.num_cpus, 1);
  EXPECT_EQ(info.vendor.size(), 12u);
}

TEST(MemoryInfoTest, IsPlausible) {
  const MemoryInfo info = GetMemoryInfo();
  EXPECT_GT(info.total_bytes, 0u);
  EXPECT_LE(info.available_bytes, info.total_bytes);
  EXPECT_GT(info.resident_bytes, 0u);
}

}  // namespace
}  // namespace lem
