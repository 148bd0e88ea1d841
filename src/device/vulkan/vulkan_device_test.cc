// The Vulkan device on small models with every op: near the scalar reference, bits that do not depend on how the work
// was cut, both in the host's memory and with a memory of its own, and lost at any moment. Validation is on.
#include "device/vulkan/vulkan_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "device/reference.h"
#include "device/testing/tiny_graph.h"
#include "kernels/kernels.h"
#include "memory/kv_block_pool.h"

namespace lem {
namespace {

class VulkanDeviceTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    ::setenv("LEM_VULKAN_VALIDATION", "1", 1);
    options_.share_host_memory = GetParam();
    Open();
  }
  void TearDown() override {
    if (device_ != nullptr) EXPECT_EQ(device_->context().instance().validation_messages(), 0);
  }
  void Open() {
    Result<std::unique_ptr<VulkanDevice>> device = OpenVulkanDevice("vulkan:0", *memory_, options_);
    if (!device.ok()) GTEST_SKIP() << "no Vulkan device: " << device.status().message();
    device_ = std::move(*device);
  }

  VulkanDeviceOptions options_;
  std::unique_ptr<MemoryManager> memory_ = std::move(*MemoryManager::Create());
  std::unique_ptr<VulkanDevice> device_;
};

// A whole model on the device: its weights, keys and values, and one executable for each phase.
class Session {
 public:
  Session(const TinyGraph& model, VulkanDevice& device, MemoryManager& memory) : device_(device) {
    for (size_t i = 0; i < model.handles.size(); ++i) {
      const std::span<const std::byte> bytes = model.table.host_bytes(model.handles[i]);
      Allocation& arena =
          allocations_.emplace_back(std::move(*memory.Allocate(MemoryUse::kWeights, bytes.size() + 16)));
      std::memcpy(arena.data(), bytes.data(), bytes.size());
      Map(arena, arena.bytes());
      if (!device.memory()->shares_host_memory()) {
        EXPECT_TRUE(device.memory()->CopyIn(arena.data(), bytes.size(), TransferCause::kWeights).ok());
      }
      handles_.push_back(table_.Add(model.table.desc(model.handles[i]), bytes, nullptr, arena.data()));
    }
    graph_ = model.graph;
    bound_ = {&graph_, handles_, &table_};
    kv_ = std::move(*KvBlockPool::Create(memory, MakeKvBlockLayout(graph_.kv).block_bytes, 64));
    // Memory that was used before holds anything: NaNs must not leak into results.
    std::memset(kv_->base(), 0xff, kv_->block_bytes() * 64);
    EXPECT_TRUE(kv_->MapTo(*device.memory()).ok());
    if (!device.memory()->shares_host_memory()) {
      EXPECT_TRUE(device.memory()->CopyIn(kv_->base(), kv_->block_bytes() * 64, TransferCause::kKvCache).ok());
    }
    allocations_.push_back(
        std::move(*memory.Allocate(MemoryUse::kActivations, static_cast<size_t>(320 * graph_.vocab_size) * 4)));
    Map(allocations_.back(), allocations_.back().bytes());
  }

  Result<std::unique_ptr<Executable>> Compile(Phase phase, int64_t max_tokens) {
    return device_.Compile(bound_, {0, static_cast<int32_t>(graph_.ops.size())}, {max_tokens, max_tokens, phase});
  }

  // Logits of every row.
  Result<std::vector<float>> Step(Executable& executable, std::span<const int32_t> tokens,
                                  std::span<const SequenceRows> rows) {
    std::vector<int32_t> outputs(tokens.size());
    std::iota(outputs.begin(), outputs.end(), 0);
    auto* logits = reinterpret_cast<float*>(allocations_.back().data());
    const ValueBinding values[] = {{graph_.logits, logits}};
    const Bindings bindings{tokens, rows, outputs, kv_->base(), kv_->block_bytes(), values};
    LEM_TRY(device_.Submit(executable, bindings, {}).Wait());
    const size_t count = tokens.size() * static_cast<size_t>(graph_.vocab_size);
    if (!device_.memory()->shares_host_memory()) {
      LEM_TRY(device_.memory()->CopyOut(allocations_.back().data(), count * 4, TransferCause::kActivations));
    }
    return std::vector<float>(logits, logits + count);
  }

  // A sequence in steps of the given sizes.
  std::vector<float> Run(std::span<const int32_t> tokens, std::span<const int64_t> step_sizes, Phase phase) {
    std::vector<BlockId> blocks(tokens.size() / kKvBlockTokens + 1);
    for (BlockId& block : blocks) block = *kv_->Allocate();
    std::reverse(blocks.begin(), blocks.end());
    std::vector<float> all;
    int64_t position = 0;
    for (const int64_t size : step_sizes) {
      std::unique_ptr<Executable>& executable = executables_[{phase, size}];
      if (executable == nullptr) {
        auto compiled = Compile(phase, size);
        EXPECT_TRUE(compiled.ok()) << compiled.status().ToString();
        executable = std::move(*compiled);
      }
      const SequenceRows rows[] = {{0, size, position, blocks}};
      const auto logits =
          Step(*executable, tokens.subspan(static_cast<size_t>(position), static_cast<size_t>(size)), rows);
      EXPECT_TRUE(logits.ok()) << logits.status().ToString();
      if (logits.ok()) all.insert(all.end(), logits->begin(), logits->end());
      position += size;
    }
    for (const BlockId block : blocks) kv_->Release(block);
    return all;
  }

 private:
  void Map(Allocation& allocation, size_t granule) { EXPECT_TRUE(allocation.MapTo(*device_.memory(), granule).ok()); }

  VulkanDevice& device_;
  Graph graph_;
  WeightTable table_;
  std::vector<WeightHandle> handles_;
  BoundGraph bound_;
  std::vector<Allocation> allocations_;  // the last one: logits
  std::unique_ptr<KvBlockPool> kv_;
  std::map<std::pair<Phase, int64_t>, std::unique_ptr<Executable>> executables_;
};

const TinyGraphShape kShapes[] = {
    {},
    {.num_heads = 8, .num_kv_heads = 1, .head_dim = 16, .window = 20, .gemma_like = true},
    {.num_heads = 2, .num_kv_heads = 2, .head_dim = 80, .softcap = 3.0f},
};

TEST_P(VulkanDeviceTest, AgreesWithTheScalarReference) {
  const std::vector<int32_t> tokens = TinyTokens(70);
  for (const TinyGraphShape& shape : kShapes) {
    const TinyGraph model = MakeTinyGraph(shape);
    const std::vector<float> expected = RunReference(model.bound(), tokens);
    Session session(model, *device_, *memory_);
    const std::vector<int64_t> whole = {70}, singles(70, 1);
    // Keys and values are rounded to float16 (relative 2^-11), which bounds the error far below this.
    EXPECT_LT(NormalisedError(session.Run(tokens, whole, Phase::kPrefill), expected), 1e-5);
    EXPECT_LT(NormalisedError(session.Run(tokens, singles, Phase::kDecode), expected), 1e-5);
  }
}

TEST_P(VulkanDeviceTest, BitsDoNotDependOnSteps) {
  const std::vector<int32_t> tokens = TinyTokens(70);
  for (const TinyGraphShape& shape : kShapes) {
    const TinyGraph model = MakeTinyGraph(shape);
    Session session(model, *device_, *memory_);
    for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
      const std::vector<float> whole = session.Run(tokens, std::vector<int64_t>{70}, phase);
      for (const std::vector<int64_t>& steps : {std::vector<int64_t>{7, 33, 1, 29}, {1, 1, 5, 63}, {64, 3, 3}}) {
        const std::vector<float> cut = session.Run(tokens, steps, phase);
        EXPECT_TRUE(SameBits(whole, cut)) << "phase " << static_cast<int>(phase) << ", steps of " << steps[0];
      }
    }
  }
}

TEST_P(VulkanDeviceTest, BatchMatesDoNotChangeBits) {
  const TinyGraph model = MakeTinyGraph({});
  const std::vector<int32_t> tokens = TinyTokens(60);
  const std::span<const int32_t> all(tokens);
  Session session(model, *device_, *memory_);
  for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
    const std::vector<float> first = session.Run(all.first(20), std::vector<int64_t>{20}, phase);
    const std::vector<float> second = session.Run(all.subspan(20), std::vector<int64_t>{40}, phase);
    const auto executable = std::move(*session.Compile(phase, 60));
    const std::vector<int32_t> table_a{3, 1}, table_b{0, 7, 2};
    const SequenceRows rows[] = {{0, 20, 0, table_a}, {20, 40, 0, table_b}};
    const std::vector<float> both = *session.Step(*executable, tokens, rows);
    EXPECT_TRUE(SameBits(std::span(both).first(first.size()), first));
    EXPECT_TRUE(SameBits(std::span(both).subspan(first.size()), second));
  }
}

TEST_P(VulkanDeviceTest, MovesOnlyStepInputsWhereMemoryIsShared) {
  const TinyGraph model = MakeTinyGraph({});
  Session session(model, *device_, *memory_);
  const TransferLedger::Account& account = memory_->ledger().AccountOf("vulkan:0");
  const uint64_t weights = account.bytes(TransferCause::kWeights), kv = account.bytes(TransferCause::kKvCache);
  const uint64_t inputs = account.bytes(TransferCause::kStepInputs);
  session.Run(TinyTokens(40), std::vector<int64_t>(40, 1), Phase::kDecode);
  EXPECT_EQ(account.bytes(TransferCause::kWeights), weights);
  EXPECT_EQ(account.bytes(TransferCause::kKvCache), kv);
  EXPECT_GT(account.bytes(TransferCause::kStepInputs), inputs);
  if (device_->memory()->shares_host_memory()) EXPECT_EQ(account.bytes(TransferCause::kActivations), 0u);
}

TEST_P(VulkanDeviceTest, ALossIsAnErrorAndStays) {
  const TinyGraph model = MakeTinyGraph({});
  Session session(model, *device_, *memory_);
  const auto executable = std::move(*session.Compile(Phase::kPrefill, 8));
  const std::vector<int32_t> tokens = TinyTokens(8), table{0};
  const SequenceRows rows[] = {{0, 8, 0, table}};
  device_->InjectLoss(1);
  bool failed = false;
  for (int i = 0; i < 3 && !failed; ++i) failed = !session.Step(*executable, tokens, rows).ok();
  EXPECT_TRUE(failed);
  EXPECT_THAT(device_->health().message(), testing::HasSubstr("lost"));
  EXPECT_EQ(session.Step(*executable, tokens, rows).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(session.Compile(Phase::kPrefill, 4).status().code(), StatusCode::kUnavailable);
}

TEST_P(VulkanDeviceTest, RefusesWhatItCannotRun) {
  const TinyGraph model = MakeTinyGraph({.num_heads = 2, .num_kv_heads = 1, .head_dim = 24});
  Session session(model, *device_, *memory_);
  const auto compiled = session.Compile(Phase::kPrefill, 4);
  EXPECT_EQ(compiled.status().code(), StatusCode::kUnimplemented);
  EXPECT_THAT(compiled.status().message(), testing::HasSubstr("24"));
}

INSTANTIATE_TEST_SUITE_P(Memory, VulkanDeviceTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Shared" : "ItsOwn"; });

// On any machine: what there is, or why there is nothing.
TEST(VulkanListingTest, NamesDevicesOrReasons) {
  const VulkanListing listing = ListVulkanDevices();
  EXPECT_FALSE(listing.devices.empty() && listing.missing.empty());
  for (const std::string& reason : listing.missing) {
    std::printf("%s\n", reason.c_str());
    EXPECT_GT(reason.size(), std::string("Vulkan: ").size());
  }
  const auto memory = std::move(*MemoryManager::Create());
  const auto device = OpenVulkanDevice("vulkan:99", *memory, {});
  EXPECT_FALSE(device.ok());
  EXPECT_FALSE(device.status().message().empty());
}

}  // namespace
}  // namespace lem
