// The executor with a real driver: every placement, in the host's memory and with a memory of the device's own.
#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "device/cpu/cpu_device.h"
#include "device/testing/tiny_graph.h"
#include "device/vulkan/vulkan_device.h"
#include "executor/testing/placed_session.h"

namespace lem {
namespace {

class VulkanExecutorTest : public testing::TestWithParam<bool> {};

TEST_P(VulkanExecutorTest, EveryPlacementAgreesWithTheCpu) {
  const auto memory = std::move(*MemoryManager::Create());
  auto gpu = OpenVulkanDevice("vulkan:0", *memory, {.share_host_memory = GetParam()});
  if (!gpu.ok()) GTEST_SKIP() << "no Vulkan device: " << gpu.status().message();
  const bool shares = (*gpu)->memory()->shares_host_memory();
  const TransferLedger::Account& account = memory->ledger().AccountOf("vulkan:0");
  ThreadPool pool(2);
  DeviceRegistry devices;
  devices.Add(MakeCpuDevice(pool, BestKernelTable()));
  devices.Add(std::move(*gpu));
  const TinyGraph model = MakeTinyGraph({.window = 20, .gemma_like = true, .num_layers = 3});
  const auto whole = std::move(*PlacedModel::Create(model.bound(), PlacementOnCpu(), devices, *memory));
  const std::vector<float> expected = RunTinyTokens(*whole, *memory);
  const size_t layer_bytes = MakeKvBlockLayout(model.graph.kv).layer_bytes;
  for (const char* placement :
       {"all vulkan:0", "prefill vulkan:0; decode cpu", "prefill cpu; decode vulkan:0", "layers 0-1 vulkan:0; rest cpu",
        "ffn vulkan:0; rest cpu", "attention vulkan:0; rest cpu", "rows 0.5 vulkan:0; rest cpu"}) {
    auto placed = PlacedModel::Create(model.bound(), *ParsePlacement(placement), devices, *memory);
    ASSERT_TRUE(placed.ok()) << placed.status().ToString();
    const uint64_t activations = account.bytes(TransferCause::kActivations);
    const uint64_t weights = account.bytes(TransferCause::kWeights), kv = account.bytes(TransferCause::kKvCache);
    EXPECT_LT(NormalisedError(RunTinyTokens(**placed, *memory), expected), 1e-6) << placement;
    EXPECT_EQ(account.bytes(TransferCause::kActivations) - activations, PredictTinyTokensBytes(**placed)) << placement;
    EXPECT_EQ(account.bytes(TransferCause::kWeights), weights) << placement;
    // Five blocks hold the prompt; they change hands where the phases are on different memories.
    const bool hands_over = !shares && std::string_view(placement).starts_with("prefill");
    EXPECT_EQ(account.bytes(TransferCause::kKvCache) - kv, hands_over ? layer_bytes * 5 * 3 : 0) << placement;
  }
  // The same device cut differently: the same bits.
  const auto on_gpu = [&](std::string_view placement) {
    return RunTinyTokens(**PlacedModel::Create(model.bound(), *ParsePlacement(placement), devices, *memory), *memory);
  };
  const std::vector<float> uncut = on_gpu("all vulkan:0");
  for (const char* placement :
       {"layers 0-1 vulkan:0; rest vulkan:0", "ffn vulkan:0; rest vulkan:0", "rows 0.5 vulkan:0; rest vulkan:0"}) {
    const std::vector<float> cut = on_gpu(placement);
    EXPECT_TRUE(SameBits(cut, uncut)) << placement;
  }
}

INSTANTIATE_TEST_SUITE_P(Memory, VulkanExecutorTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Shared" : "ItsOwn"; });

}  // namespace
}  // namespace lem
