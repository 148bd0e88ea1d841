#include "memory/memory_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

namespace lem {
namespace {

using testing::HasSubstr;

TEST(MemoryManagerTest, RangesDoNotOverlapAndComeBack) {
  const auto memory = std::move(*MemoryManager::Create());
  std::mt19937 random(1);
  std::map<std::byte*, Allocation> live;
  uint64_t expected = 0;
  for (int i = 0; i < 2'000; ++i) {
    if (live.size() < 40 && random() % 3 != 0) {
      Allocation a = std::move(*memory->Allocate(MemoryUse::kKvCache, 1 + random() % 100'000));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data()) % 4096, 0u);
      EXPECT_EQ(a.data()[a.bytes() - 1], std::byte{0});  // new pages
      std::fill_n(a.data(), a.bytes(), static_cast<std::byte>(0xab));
      expected += a.bytes();
      live.emplace(a.data(), std::move(a));
    } else if (!live.empty()) {
      auto it = live.begin();
      std::advance(it, static_cast<std::ptrdiff_t>(random() % live.size()));
      expected -= it->second.bytes();
      live.erase(it);
    }
    std::byte* end = nullptr;
    for (const auto& [data, allocation] : live) {
      EXPECT_GE(data, end);
      end = data + allocation.bytes();
    }
    EXPECT_EQ(memory->used_bytes(MemoryUse::kKvCache), expected);
  }
}

TEST(MemoryManagerTest, BudgetsAreKept) {
  MemoryManagerOptions options;
  options.budget_bytes[static_cast<size_t>(MemoryUse::kWeights)] = 1 << 20;
  const auto memory = std::move(*MemoryManager::Create(options));
  const Allocation first = std::move(*memory->Allocate(MemoryUse::kWeights, 1'000'000));
  const auto second = memory->Allocate(MemoryUse::kWeights, 100'000);
  EXPECT_EQ(second.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(second.status().message(), testing::AllOf(HasSubstr("weights"), HasSubstr("1048576")));
  EXPECT_TRUE(memory->Allocate(MemoryUse::kActivations, 100'000).ok());
  EXPECT_EQ(memory->Allocate(MemoryUse::kActivations, SIZE_MAX).status().code(), StatusCode::kResourceExhausted);
}

TEST(MemoryManagerTest, LedgerCountsByDeviceDirectionAndCause) {
  TransferLedger ledger;
  TransferLedger::Account& gpu = ledger.AccountOf("vulkan:0");
  gpu.Add(TransferDirection::kToDevice, TransferCause::kKvCache, 100);
  gpu.Add(TransferDirection::kToHost, TransferCause::kKvCache, 7);
  ledger.AccountOf("vulkan:0").Add(TransferDirection::kToDevice, TransferCause::kKvCache, 1);
  EXPECT_EQ(gpu.bytes(TransferCause::kKvCache), 108u);
  EXPECT_EQ(gpu.bytes(TransferDirection::kToDevice, TransferCause::kWeights), 0u);
  uint64_t total = 0;
  for (const TransferCount& count : ledger.Counts()) total += count.bytes;
  EXPECT_EQ(total, 108u);
}

}  // namespace
}  // namespace lem
