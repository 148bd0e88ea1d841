#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "base/cpu_info.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

TEST(DispatchTest, TablesFollowTheProcessor) {
  const KernelTable* portable = GetKernelTable(Isa::kPortable);
  ASSERT_NE(portable, nullptr);
  EXPECT_STREQ(portable->name, "portable");
#if defined(__x86_64__)
  EXPECT_EQ(GetKernelTable(Isa::kAvx2) != nullptr, GetCpuInfo().avx2);
  EXPECT_EQ(GetKernelTable(Isa::kAvxVnni) != nullptr, GetCpuInfo().avx_vnni);
  EXPECT_EQ(GetKernelTable(Isa::kAvx512Vnni) != nullptr, GetCpuInfo().avx512_vnni);
  EXPECT_EQ(GetKernelTable(Isa::kAvx512) != nullptr, GetCpuInfo().avx2 && GetCpuInfo().avx512);
#endif
}

TEST(DispatchTest, BestTableIsAvailableAndConstant) {
  const KernelTable& best = BestKernelTable();
  EXPECT_EQ(GetKernelTable(best.isa), &best);
  EXPECT_EQ(&BestKernelTable(), &best);
  if (std::getenv("LEM_ISA") == nullptr && GetKernelTable(Isa::kAvx512Vnni) != nullptr) {
    EXPECT_STREQ(best.name, "avx512_vnni");
  }
}

// The choice is made once in a process: each child makes its own.
TEST(DispatchDeathTest, EnvironmentNamesTheTable) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto choose = [](const char* name) {
    setenv("LEM_ISA", name, 1);
    std::exit(std::string_view(BestKernelTable().name) == "portable" ? 3 : 4);
  };
  EXPECT_EXIT(choose("portable"), testing::ExitedWithCode(3), "");
  if (GetKernelTable(Isa::kAvx2) != nullptr) {
    EXPECT_EXIT(choose("avx2"), testing::ExitedWithCode(4), "");
    EXPECT_EXIT(choose("avx9"), testing::ExitedWithCode(4), "LEM_ISA=avx9 is unknown or not available");
  }
}

}  // namespace
}  // namespace lem
