// The executor with OpenVINO: every kind of placement.
#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "device/cpu/cpu_device.h"
#include "device/npu/openvino/openvino_device.h"
#include "device/testing/tiny_graph.h"
#include "executor/testing/placed_session.h"

namespace lem {
namespace {

constexpr const char* kPlacements[] = {
    "all npu-openvino",
    "prefill npu-openvino; decode cpu",
    "prefill cpu; decode npu-openvino",
    "layers 0-1 npu-openvino; rest cpu",
    "ffn npu-openvino; rest cpu",
    "attention npu-openvino; rest cpu",
    "embedding npu-openvino; head npu-openvino; rest cpu",
    "rows 0.5 npu-openvino; rest cpu",
    "rows 0.4 cpu; rest npu-openvino",
    "attention npu-openvino; ffn npu-openvino; rest cpu",
};

TEST(OpenVinoExecutorTest, EveryPlacementAgreesWithTheCpu) {
  const auto memory = std::move(*MemoryManager::Create());
  ThreadPool pool(2);
  OpenVinoOptions options = OpenVinoOptionsFromEnvironment();
  options.compile.mode = NpuPrecisionMode::kBf16;
  auto npu = MakeOpenVinoDevice(options, pool, BestKernelTable(), *memory);
  if (!npu.ok()) GTEST_SKIP() << "OpenVINO: " << npu.status().message();
  DeviceRegistry devices;
  devices.Add(MakeCpuDevice(pool, BestKernelTable()));
  devices.Add(std::move(*npu));
  for (const TinyGraphShape& shape :
       {TinyGraphShape{.num_layers = 3}, TinyGraphShape{.window = 20, .gemma_like = true, .num_layers = 3}}) {
    const TinyGraph model = MakeTinyGraph(shape);
    const auto whole = std::move(*PlacedModel::Create(model.bound(), PlacementOnCpu(), devices, *memory));
    const std::vector<float> expected = RunTinyTokens(*whole, *memory);
    for (const char* placement : kPlacements) {
      auto placed = PlacedModel::Create(model.bound(), *ParsePlacement(placement), devices, *memory);
      ASSERT_TRUE(placed.ok()) << placed.status().ToString();
      // Of the matrices' rounding to bfloat16, where the device has any.
      EXPECT_LT(NormalisedError(RunTinyTokens(**placed, *memory), expected), 2e-4) << placement;
    }
  }
}

}  // namespace
}  // namespace lem
