// The CPU device against the scalar reference, on small random models with every op, and its promise that a row's bits
// do not depend on how the work was cut.
#include "device/cpu/cpu_device.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "device/cpu/lane_weights.h"
#include "device/reference.h"
#include "device/testing/tiny_graph.h"
#include "memory/kv_block_pool.h"

namespace lem {
namespace {

// Feeds `tokens` to a device in steps of the given sizes and collects the logits of every row.
class Session {
 public:
  Session(const TinyGraph& model, const KernelTable& kernels, int num_threads, bool repack = true)
      : model_(model),
        pool_(num_threads),
        device_(MakeCpuDevice(pool_, kernels, repack ? memory_.get() : nullptr)),
        bound_(model.bound()) {
    const Segment all{0, static_cast<int32_t>(model.graph.ops.size())};
    executable_ = std::move(*device_->Compile(bound_, all, {512, 512}));
    kv_ = std::move(*KvBlockPool::Create(*memory_, MakeKvBlockLayout(model.graph.kv).block_bytes, 64));
    // Memory that was used before holds anything: NaNs must not leak into results.
    std::memset(kv_->base(), 0xff, kv_->block_bytes() * 64);
  }

  const MemoryManager& memory() const { return *memory_; }

  std::vector<float> Run(std::span<const int32_t> tokens, std::span<const int64_t> step_sizes) {
    std::vector<BlockId> blocks(tokens.size() / kKvBlockTokens + 1);
    for (BlockId& block : blocks) block = *kv_->Allocate();
    std::reverse(blocks.begin(), blocks.end());
    std::vector<float> all;
    int64_t position = 0;
    for (const int64_t size : step_sizes) {
      std::vector<int32_t> output_rows(static_cast<size_t>(size));
      for (int32_t i = 0; i < size; ++i) output_rows[static_cast<size_t>(i)] = i;
      std::vector<float> logits(static_cast<size_t>(size * model_.graph.vocab_size));
      const SequenceRows rows[] = {{0, size, position, blocks}};
      const ValueBinding values[] = {{model_.graph.logits, logits.data()}};
      const Bindings bindings{tokens.subspan(static_cast<size_t>(position), static_cast<size_t>(size)),
                              rows,
                              output_rows,
                              kv_->base(),
                              kv_->block_bytes(),
                              values};
      EXPECT_TRUE(device_->Submit(*executable_, bindings, {}).Wait().ok());
      all.insert(all.end(), logits.begin(), logits.end());
      position += size;
    }
    for (const BlockId block : blocks) kv_->Release(block);
    return all;
  }

 private:
  const TinyGraph& model_;
  ThreadPool pool_;
  std::unique_ptr<MemoryManager> memory_ = std::move(*MemoryManager::Create());
  std::unique_ptr<Device> device_;
  BoundGraph bound_;
  std::unique_ptr<Executable> executable_;
  std::unique_ptr<KvBlockPool> kv_;
};

const TinyGraphShape kShapes[] = {
    {},
    {.num_heads = 3, .num_kv_heads = 1, .head_dim = 64},
    {.num_heads = 8, .num_kv_heads = 1, .head_dim = 16, .window = 20, .gemma_like = true},
    {.num_heads = 2, .num_kv_heads = 2, .head_dim = 80, .softcap = 3.0f},
    {.matrices = DType::kQ4_1},
    {.num_heads = 8, .num_kv_heads = 1, .head_dim = 16, .window = 20, .gemma_like = true, .matrices = DType::kQ8_0},
};

TEST(CpuDeviceTest, AgreesWithTheScalarReference) {
  const std::vector<int32_t> tokens = TinyTokens(300);
  const int64_t steps[] = {300};
  for (const TinyGraphShape& shape : kShapes) {
    const TinyGraph model = MakeTinyGraph(shape);
    const std::vector<float> expected = RunReference(model.bound(), tokens);
    for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512Vnni}) {
      const KernelTable* kernels = GetKernelTable(isa);
      if (kernels == nullptr) continue;
      // Keys and values are rounded to float16 (relative 2^-11), which bounds the error far below this.
      EXPECT_LT(NormalisedError(Session(model, *kernels, 2).Run(tokens, steps), expected), 1e-5) << kernels->name;
    }
  }
}

TEST(CpuDeviceTest, BitsDoNotDependOnStepsOrThreads) {
  const std::vector<int32_t> tokens = TinyTokens(280);
  std::vector<int64_t> one_by_one(31, 1);  // over the end of an attention chunk
  one_by_one[0] = 250;
  for (const TinyGraphShape& shape : kShapes) {
    const TinyGraph model = MakeTinyGraph(shape);
    const std::vector<float> whole = Session(model, BestKernelTable(), 1).Run(tokens, std::vector<int64_t>{280});
    for (const int threads : {1, 3}) {
      Session session(model, BestKernelTable(), threads);
      for (const std::vector<int64_t>& steps : {one_by_one, {7, 100, 1, 172}, {255, 25}, {256, 24}}) {
        const std::vector<float> cut = session.Run(tokens, steps);
        EXPECT_TRUE(SameBits(whole, cut));
      }
    }
  }
}

// Weights in lanes and weights as they are stored give the same bits on every instruction set; repacked ones are
// booked.
TEST(CpuDeviceTest, LayoutsAndInstructionSetsOfQuantisedWeightsGiveTheSameBits) {
  const std::vector<int32_t> tokens = TinyTokens(40);
  const int64_t steps[] = {33, 1, 6};
  const TinyGraph model = MakeTinyGraph({.matrices = DType::kQ5_0});
  std::vector<float> want;
  for (const Isa isa : {Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Vnni}) {
    const KernelTable* kernels = GetKernelTable(isa);
    if (kernels == nullptr) continue;
    for (const bool repack : {true, false}) {
      Session session(model, *kernels, 2, repack);
      EXPECT_EQ(session.memory().used_bytes(MemoryUse::kWeights) > 0, repack);
      const std::vector<float> found = session.Run(tokens, steps);
      if (want.empty()) want = found;
      EXPECT_TRUE(SameBits(want, found)) << kernels->name << (repack ? " in lanes" : " as stored");
    }
  }
}

// Executables share a repacked weight and free it with the last one; what another device reads stays as it is.
TEST(CpuDeviceTest, RepackedWeightsAreSharedAndFreed) {
  const auto memory = std::move(*MemoryManager::Create());
  const std::vector<std::byte> blocks(*RowBytes(DType::kQ4_0, 64) * 40);
  const WeightDesc desc{"w", DType::kQ4_0, Layout::kGgufRows, 40, 64, *RowBytes(DType::kQ4_0, 64)};
  WeightTable table;
  const WeightHandle own = table.Add(desc, blocks, nullptr);
  const WeightHandle shared = table.Add(desc, blocks, nullptr, blocks.data());
  LaneWeights weights(*memory, 2);
  EXPECT_EQ(weights.Get(table, {{shared}})[0], nullptr);
  EXPECT_EQ(memory->used_bytes(MemoryUse::kWeights), 0u);
  auto first = weights.Get(table, {{own, shared, own}}), second = weights.Get(table, {{own}});
  ASSERT_NE(first[0], nullptr);
  EXPECT_EQ(first[1], nullptr);
  EXPECT_EQ(first[0], first[2]);
  EXPECT_EQ(first[0], second[0]);
  first.clear();
  EXPECT_GT(memory->used_bytes(MemoryUse::kWeights), 0u);
  second.clear();
  EXPECT_EQ(memory->used_bytes(MemoryUse::kWeights), 0u);
}

// Two sequences in one step give the same bits as each alone, and rows without logits cost none.
TEST(CpuDeviceTest, BatchMatesDoNotChangeBits) {
  const TinyGraph model = MakeTinyGraph({});
  const std::vector<int32_t> tokens = TinyTokens(60);
  const std::span<const int32_t> all(tokens);
  Session alone(model, BestKernelTable(), 2);
  const std::vector<float> first = alone.Run(all.first(20), std::vector<int64_t>{20});
  const std::vector<float> second = alone.Run(all.subspan(20), std::vector<int64_t>{40});

  ThreadPool pool(2);
  const auto device = MakeCpuDevice(pool, BestKernelTable());
  const BoundGraph bound = model.bound();
  const auto executable =
      std::move(*device->Compile(bound, {0, static_cast<int32_t>(model.graph.ops.size())}, {60, 2}));
  const auto memory = std::move(*MemoryManager::Create());
  const auto kv = std::move(*KvBlockPool::Create(*memory, MakeKvBlockLayout(model.graph.kv).block_bytes, 8));
  const std::vector<int32_t> table_a{3, 1}, table_b{0, 7, 2};
  const SequenceRows rows[] = {{0, 20, 0, table_a}, {20, 40, 0, table_b}};
  const int32_t output_rows[] = {19, 59};
  std::vector<float> logits(size_t{2} * kTinyGraphVocab);
  const ValueBinding values[] = {{model.graph.logits, logits.data()}};
  ASSERT_TRUE(
      device->Submit(*executable, {tokens, rows, output_rows, kv->base(), kv->block_bytes(), values}, {}).Wait().ok());
  const std::span<const float> found(logits);
  EXPECT_TRUE(SameBits(found.first(kTinyGraphVocab), std::span(first).last(kTinyGraphVocab)));
  EXPECT_TRUE(SameBits(found.last(kTinyGraphVocab), std::span(second).last(kTinyGraphVocab)));
}

TEST(CpuDeviceTest, RefusesWhatItCannotRun) {
  ThreadPool pool(1);
  const auto device = MakeCpuDevice(pool, BestKernelTable());
  const TinyGraph model = MakeTinyGraph({.num_heads = 2, .num_kv_heads = 1, .head_dim = 24});
  const BoundGraph bound = model.bound();
  const auto compiled = device->Compile(bound, {0, static_cast<int32_t>(model.graph.ops.size())}, {1, 1});
  EXPECT_EQ(compiled.status().code(), StatusCode::kUnimplemented);
  EXPECT_NE(compiled.status().message().find("24"), std::string::npos);
}

}  // namespace
}  // namespace lem
