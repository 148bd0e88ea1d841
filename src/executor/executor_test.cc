// The executor over every form of placement, with devices in the host's memory and with one that has its own: the same
// bits as the CPU alone, and exactly the bytes moved that the plan says.
#include "executor/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "device/cpu/cpu_device.h"
#include "device/testing/shadow_device.h"
#include "device/testing/tiny_graph.h"
#include "executor/testing/placed_session.h"

namespace lem {
namespace {

constexpr const char* kPlacements[] = {
    "all far",
    "layers 0-1 cpu; rest cpu",
    "ffn far; rest far",
    "rows 0.5 cpu; rest cpu",
    "prefill far; decode cpu",
    "prefill cpu; decode far",
    "layers 0-0 far; rest cpu",
    "layers 1-2 far; rest cpu",
    "ffn far; rest cpu",
    "attention far; rest cpu",
    "embedding far; head far; rest cpu",
    "rows 0.5 far; rest cpu",
    "rows 0.4 cpu; rest far",
    "attention far; ffn further; rest cpu",
    "prefill layers 0-1 far; decode layers 1-2 further; rest cpu",
};

class ExecutorTest : public testing::Test {
 protected:
  ExecutorTest() {
    auto cpu = MakeCpuDevice(pool_, BestKernelTable());
    for (const char* id : {"far", "further"}) {
      auto shadow = std::make_unique<ShadowDevice>(id, *cpu, *memory_);
      shadows_.push_back(shadow.get());
      shadow_owners_.push_back(std::move(shadow));
    }
    devices_.Add(std::move(cpu));
    for (auto& shadow : shadow_owners_) devices_.Add(std::move(shadow));
  }

  std::unique_ptr<PlacedModel> Place(const TinyGraph& model, std::string_view placement) {
    auto placed = PlacedModel::Create(model.bound(), *ParsePlacement(placement), devices_, *memory_);
    EXPECT_TRUE(placed.ok()) << placed.status().ToString();
    return std::move(*placed);
  }

  uint64_t Moved(TransferCause cause) {
    uint64_t bytes = 0;
    for (const char* id : {"far", "further"}) bytes += memory_->ledger().AccountOf(id).bytes(cause);
    return bytes;
  }

  std::unique_ptr<MemoryManager> memory_ = std::move(*MemoryManager::Create());
  ThreadPool pool_{2};
  std::vector<std::unique_ptr<ShadowDevice>> shadow_owners_;
  std::vector<ShadowDevice*> shadows_;
  DeviceRegistry devices_;
};

TEST_F(ExecutorTest, EveryPlacementGivesTheSameBits) {
  for (const bool gemma_like : {false, true}) {
    const TinyGraph model = MakeTinyGraph({.window = 20, .gemma_like = gemma_like, .num_layers = 3});
    const auto whole = Place(model, "all cpu");
    EXPECT_TRUE(whole->phases_are_alike());
    const std::vector<float> expected = RunTinyTokens(*whole, *memory_);
    for (const char* placement : kPlacements) {
      const auto placed = Place(model, placement);
      const std::vector<float> found = RunTinyTokens(*placed, *memory_);
      EXPECT_TRUE(SameBits(found, expected)) << placement;
    }
  }
  for (ShadowDevice* shadow : shadows_) EXPECT_EQ(shadow->memory()->num_ranges(), 0u) << "mappings are left";
}

TEST_F(ExecutorTest, MovesTheBytesThatThePlanPredicts) {
  const TinyGraph model = MakeTinyGraph({.num_layers = 3});
  for (const char* placement : kPlacements) {
    const auto placed = Place(model, placement);
    const uint64_t activations = Moved(TransferCause::kActivations), weights = Moved(TransferCause::kWeights);
    RunTinyTokens(*placed, *memory_);
    EXPECT_EQ(Moved(TransferCause::kActivations) - activations, PredictTinyTokensBytes(*placed)) << placement;
    EXPECT_EQ(Moved(TransferCause::kWeights), weights) << placement << ": a step moved weights";
  }
}

TEST_F(ExecutorTest, KeysAndValuesFollowTheirReaders) {
  const TinyGraph model = MakeTinyGraph({.num_layers = 3});
  const size_t layer_bytes = MakeKvBlockLayout(model.graph.kv).layer_bytes;
  // Handed over once: five blocks of three layers hold the 70 tokens of the prompt; later steps move nothing.
  const auto handed = Place(model, "prefill far; decode cpu");
  uint64_t before = Moved(TransferCause::kKvCache);
  RunTinyTokens(*handed, *memory_);
  EXPECT_EQ(Moved(TransferCause::kKvCache) - before, layer_bytes * 5 * 3);
  // Where the layers stay, nothing moves.
  for (const char* placement : {"all far", "layers 0-1 far; rest cpu", "ffn far; rest cpu"}) {
    const auto placed = Place(model, placement);
    before = Moved(TransferCause::kKvCache);
    RunTinyTokens(*placed, *memory_);
    EXPECT_EQ(Moved(TransferCause::kKvCache), before) << placement;
  }
}

TEST_F(ExecutorTest, WeightsGoWhereTheyAreUsed) {
  const TinyGraph model = MakeTinyGraph({.num_layers = 3});
  uint64_t ffn_bytes = 0;
  for (size_t i = 0; i < model.graph.weights.size(); ++i) {
    const std::string& name = model.graph.weights[i].name;
    const bool in_ffn = name.ends_with("fn") || name.ends_with("g") || name.ends_with("u") || name.ends_with("d");
    if (in_ffn && name != "embed") ffn_bytes += model.table.host_bytes(model.handles[i]).size();
  }
  const uint64_t before = Moved(TransferCause::kWeights);
  const auto weights = std::make_shared<PlacedWeights>(*memory_);
  const auto place = [&](std::string_view placement) {
    return std::move(*PlacedModel::Create(model.bound(), *ParsePlacement(placement), devices_, weights));
  };
  const auto first = place("ffn far; rest cpu");
  EXPECT_EQ(weights->moved_bytes(), ffn_bytes);
  EXPECT_EQ(Moved(TransferCause::kWeights) - before, ffn_bytes);
  // Another way through the model brings only what is not there yet, and both compute the same.
  const auto second = place("layers 0-1 far; rest cpu");
  const uint64_t with_layers = weights->moved_bytes();
  EXPECT_GT(with_layers, ffn_bytes);
  const auto third = place("layers 0-1 far; ffn far; rest cpu");
  EXPECT_EQ(weights->moved_bytes(), with_layers);
  const auto on_another = place("ffn further; rest cpu");
  EXPECT_EQ(weights->moved_bytes(), with_layers + ffn_bytes);
  const std::vector<float> expected = RunTinyTokens(*Place(model, "all cpu"), *memory_);
  for (const PlacedModel* placed : {first.get(), second.get(), third.get(), on_another.get()}) {
    EXPECT_EQ(RunTinyTokens(*placed, *memory_), expected);
  }
}

TEST_F(ExecutorTest, ALostDeviceIsAnError) {
  const TinyGraph model = MakeTinyGraph({.num_layers = 3});
  const auto placed = Place(model, "ffn far; rest cpu");
  const auto session = std::move(*PlacedSession::Create(*placed, *memory_, 40, 80));
  const std::vector<int32_t> tokens = TinyTokens(40);
  ASSERT_TRUE(session->Step(tokens, Phase::kPrefill).ok());
  shadows_[0]->LoseAfter(1);
  const Status status = session->Step(std::span(tokens).first(1), Phase::kDecode);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_FALSE(shadows_[0]->health().ok());
  EXPECT_THAT(PlacedModel::Create(model.bound(), *ParsePlacement("ffn far"), devices_, *memory_).status().message(),
              testing::HasSubstr("'far' cannot be used"));
  EXPECT_THAT(
      PlacedModel::Create(model.bound(), *ParsePlacement("ffn vulkan:7"), devices_, *memory_).status().message(),
      testing::HasSubstr("cpu, far, further"));
}

}  // namespace
}  // namespace lem
