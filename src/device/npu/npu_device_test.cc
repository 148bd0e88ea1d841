// `npu-emu` on small random models with every op: near the reference in each precision, a row's bits independent of how
// steps are cut and of batch mates, nothing compiled or converted twice, and what it costs booked.
#include "device/npu/npu_device.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "device/npu/emulator/gemm_execute.h"
#include "device/npu/emulator/gemm_kernels.h"
#include "device/reference.h"
#include "device/testing/tiny_graph.h"
#include "memory/kv_block_pool.h"

namespace lem {
namespace {

std::unique_ptr<NpuEmulatedDevice> Open(ThreadPool& pool, MemoryManager& memory, NpuPrecisionMode mode) {
  return std::move(*MakeNpuEmulatedDevice({.compile = {.mode = mode}}, pool, BestKernelTable(), memory));
}

Segment AllOf(const Graph& graph) { return {0, static_cast<int32_t>(graph.ops.size())}; }

// Feeds tokens of one sequence in steps of the given sizes and collects the logits of every row.
class Session {
 public:
  Session(const TinyGraph& model, NpuPrecisionMode mode, int num_threads = 2)
      : model_(model), pool_(num_threads), device_(Open(pool_, *memory_, mode)), bound_(model.bound()) {
    executable_ = std::move(*device_->Compile(bound_, AllOf(model.graph), {512, 512}));
    kv_ = std::move(*KvBlockPool::Create(*memory_, MakeKvBlockLayout(model.graph.kv).block_bytes, 64));
    std::memset(kv_->base(), 0xff, kv_->block_bytes() * 64);
  }

  std::vector<float> Run(std::span<const int32_t> tokens, std::span<const int64_t> step_sizes) {
    std::vector<BlockId> blocks;
    blocks.reserve(tokens.size() / kKvBlockTokens + 1);
    for (size_t i = 0; i < tokens.size() / kKvBlockTokens + 1; ++i) blocks.push_back(*kv_->Allocate());
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

  NpuEmulatedDevice& device() { return *device_; }
  MemoryManager& memory() { return *memory_; }

 private:
  const TinyGraph& model_;
  std::unique_ptr<MemoryManager> memory_ = std::move(*MemoryManager::Create());
  ThreadPool pool_;
  std::unique_ptr<NpuEmulatedDevice> device_;
  const BoundGraph bound_;
  std::unique_ptr<Executable> executable_;
  std::unique_ptr<KvBlockPool> kv_;
};

const TinyGraphShape kShapes[] = {{}, {.window = 20, .softcap = 30, .gemma_like = true}, {.num_kv_heads = 4}};

TEST(NpuDeviceTest, NearTheReference) {
  for (const TinyGraphShape& shape : kShapes) {
    const TinyGraph model = MakeTinyGraph(shape);
    const std::vector<int32_t> tokens = TinyTokens(70);
    const std::vector<float> expected = RunReference(model.bound(), tokens);
    const std::pair<NpuPrecisionMode, double> bounds[] = {
        {NpuPrecisionMode::kBf16, 5e-4}, {NpuPrecisionMode::kInt8, 1e-2}, {NpuPrecisionMode::kMix, 1e-2}};
    for (const auto& [mode, bound] : bounds) {
      const std::vector<float> found = Session(model, mode).Run(tokens, std::vector<int64_t>{70});
      EXPECT_LT(NormalisedError(found, expected), bound) << NpuPrecisionModeName(mode);
      EXPECT_GT(NormalisedError(found, expected), 1e-9) << "float32 would be no NPU's";
    }
  }
}

TEST(NpuDeviceTest, BitsDoNotDependOnStepsThreadsOrBuckets) {
  const std::vector<int32_t> tokens = TinyTokens(300);
  for (const TinyGraphShape& shape : kShapes) {
    const TinyGraph model = MakeTinyGraph(shape);
    const std::vector<float> whole = Session(model, NpuPrecisionMode::kMix, 1).Run(tokens, std::vector<int64_t>{300});
    for (const int threads : {1, 3}) {
      Session session(model, NpuPrecisionMode::kMix, threads);
      for (const std::vector<int64_t>& steps :
           {std::vector<int64_t>{300}, {1, 299}, {128, 128, 44}, {7, 9, 200, 84}, {290, 4, 4, 1, 1}}) {
        const std::vector<float> cut = session.Run(tokens, steps);
        ASSERT_TRUE(SameBits(whole, cut));
      }
    }
  }
}

// Rows of several requests packed into one bucket, with outputs of some of them.
TEST(NpuDeviceTest, BatchMatesDoNotChangeBits) {
  const TinyGraph model = MakeTinyGraph({});
  const std::vector<int32_t> tokens = TinyTokens(60);
  const std::span<const int32_t> all(tokens);
  Session alone(model, NpuPrecisionMode::kMix);
  const std::vector<float> first = alone.Run(all.first(20), std::vector<int64_t>{20});
  const std::vector<float> second = alone.Run(all.subspan(20), std::vector<int64_t>{40});

  ThreadPool pool(2);
  const auto memory = std::move(*MemoryManager::Create());
  const auto device = Open(pool, *memory, NpuPrecisionMode::kMix);
  const BoundGraph bound = model.bound();
  const auto executable = std::move(*device->Compile(bound, AllOf(model.graph), {60, 2}));
  const auto kv = std::move(*KvBlockPool::Create(*memory, MakeKvBlockLayout(model.graph.kv).block_bytes, 8));
  const std::vector<int32_t> table_a{3, 1}, table_b{0, 7, 2};
  const SequenceRows rows[] = {{0, 20, 0, table_a}, {20, 40, 0, table_b}};
  const int32_t output_rows[] = {19, 59};
  std::vector<float> logits(size_t{2} * kTinyGraphVocab);
  const ValueBinding values[] = {{model.graph.logits, logits.data()}};
  ASSERT_TRUE(
      device->Submit(*executable, {tokens, rows, output_rows, kv->base(), kv->block_bytes(), values}, {}).Wait().ok());
  EXPECT_TRUE(
      SameBits(std::span(logits).first(kTinyGraphVocab), std::span(first).subspan(size_t{19} * kTinyGraphVocab)));
  EXPECT_TRUE(
      SameBits(std::span(logits).subspan(kTinyGraphVocab), std::span(second).subspan(size_t{39} * kTinyGraphVocab)));
}

TEST(NpuDeviceTest, NothingIsCompiledOrConvertedTwice) {
  const TinyGraph model = MakeTinyGraph({});
  Session session(model, NpuPrecisionMode::kMix);
  const std::vector<int32_t> tokens = TinyTokens(100);
  session.Run(tokens, std::vector<int64_t>{90, 5, 5});
  const NpuStats before = session.device().stats();
  EXPECT_GT(before.graphs_compiled, 0);
  const BoundGraph bound = model.bound();
  for (const int64_t bucket : {1, 8, 128}) {
    ASSERT_TRUE(session.device().Compile(bound, AllOf(model.graph), {512, 512}).ok());
    ASSERT_TRUE(session.device().Compile(bound, AllOf(model.graph), {bucket, 1}).ok());
  }
  session.Run(tokens, std::vector<int64_t>{90, 5, 5});
  const NpuStats after = session.device().stats();
  EXPECT_EQ(after.weights_converted, before.weights_converted);
  EXPECT_LE(after.graphs_compiled, before.graphs_compiled + 3) << "the three buckets with one output, at most";
}

TEST(NpuDeviceTest, BooksWeightsTimeAndEnergy) {
  const TinyGraph model = MakeTinyGraph({});
  Session session(model, NpuPrecisionMode::kInt8);
  const uint64_t weights = session.device().telemetry().memory_bytes;
  EXPECT_GT(weights, 0u);
  EXPECT_GE(session.memory().used_bytes(MemoryUse::kWeights), weights);
  EXPECT_GT(session.memory().ledger().AccountOf("npu-emu").bytes(TransferCause::kWeights), 0u);
  EXPECT_EQ(session.device().stats().busy_s, 0);
  const std::vector<int32_t> tokens = TinyTokens(20);
  session.Run(tokens, std::vector<int64_t>{17, 1, 1, 1});
  const NpuStats stats = session.device().stats();
  EXPECT_EQ(stats.rows, 20u);
  EXPECT_GE(stats.bucket_rows, 20u);
  EXPECT_GE(stats.dispatches, 4u);
  // At least the dispatches and one load of the array's configuration.
  EXPECT_GT(stats.busy_s, 4 * 0.2e-3 + 4.9e-3);
  EXPECT_GT(stats.joules, 0);
  EXPECT_EQ(session.device().telemetry().submissions, 4u);
  EXPECT_TRUE(session.device().caps().emulated);
}

TEST(NpuDeviceTest, RefusesWhatItCannotRun) {
  ThreadPool pool(1);
  const auto memory = std::move(*MemoryManager::Create());
  const auto device = Open(pool, *memory, NpuPrecisionMode::kMix);
  const TinyGraph model = MakeTinyGraph({.num_heads = 2, .num_kv_heads = 1, .head_dim = 24});
  const BoundGraph bound = model.bound();
  const auto compiled = device->Compile(bound, AllOf(model.graph), {1, 1});
  EXPECT_EQ(compiled.status().code(), StatusCode::kUnimplemented);
  EXPECT_NE(compiled.status().message().find("24"), std::string::npos);
  EXPECT_FALSE(MakeNpuEmulatedDevice({.generation = "tpu"}, pool, BestKernelTable(), *memory).ok());
}

// A group on a grid of at most 16 values is kept exactly, wherever on the grid its ends lie.
TEST(NpuKernelsTest, FourBitWeightsOnAGridAreExact) {
  constexpr int64_t kGroup = 32, kK = 4 * kGroup;
  const float steps[] = {0.013671875f, 0.5f, 1e-3f, 0.0f}, minimums[] = {-0.109375f, 0.0f, 3.0f, 0.25f};
  std::vector<float> values;
  for (int64_t g = 0; g < 4; ++g) {
    for (int64_t i = 0; i < kGroup; ++i) {
      const auto level = static_cast<float>(3 + (i * 7 + g) % (g == 1 ? 13 : 9));
      values.push_back(steps[g] * level + minimums[g]);
    }
  }
  PackedInt8 packed(1, kK, kGroup, true);
  AlignedVector<std::byte> memory(packed.bytes());
  packed.Attach(memory.data());
  PackInt8Row(packed, 0, values);
  // Activations that are one at a time 127 read the weights back.
  for (int64_t k = 0; k < kK; ++k) {
    std::vector<float> in(kK, 0.0f);
    in[static_cast<size_t>(k)] = 127.0f;
    Int8Rows rows;
    rows.Resize(1, packed);
    QuantizeInt8Row(rows, 0, in.data(), kK, kGroup);
    float out = 0;
    MultiplyInt8Panel(packed, 0, rows, 0, 1, &out, 1);
    EXPECT_NEAR(out / 127.0f, values[static_cast<size_t>(k)], 1e-5f * std::abs(values[static_cast<size_t>(k)]) + 1e-7f)
        << k;
  }
}

// The fast kernels give the sums of the tile program.
TEST(NpuKernelsTest, SameSumsAsTheTileProgram) {
  constexpr int64_t kM = 13, kK = 100, kN = 37;
  const NpuGeneration& generation = **FindNpuGeneration("xdna2");
  std::vector<float> a(kM * kK), b(kN * kK);
  uint32_t state = 1;
  for (auto* matrix : {&a, &b}) {
    for (float& value : *matrix) {
      state = state * 1664525u + 1013904223u;
      value = static_cast<float>((state >> 16) % 128);
    }
  }
  // Whole numbers up to 127, with 127 in every row: quantising them to int8 changes nothing.
  for (int64_t row = 0; row < kM; ++row) a[static_cast<size_t>(row * kK)] = 127;
  for (int64_t row = 0; row < kN; ++row) b[static_cast<size_t>(row * kK)] = -127;
  for (const NpuType type : {NpuType::kI8, NpuType::kBf16}) {
    const GemmConfig config{.in = type,
                            .out = type == NpuType::kI8 ? NpuType::kI32 : NpuType::kF32,
                            .tile = {8, 16, 16},
                            .shape = {kM, kK, kN}};
    const auto program = GemmProgram::Compile(generation, config);
    ASSERT_TRUE(program.ok());
    const auto to_bytes = [&](const std::vector<float>& matrix) {
      std::vector<std::byte> bytes;
      for (const float value : matrix) {
        if (type == NpuType::kI8) {
          bytes.push_back(static_cast<std::byte>(static_cast<int8_t>(value)));
        } else {
          const uint32_t bits = std::bit_cast<uint32_t>(value) >> 16;
          bytes.push_back(static_cast<std::byte>(bits & 0xff));
          bytes.push_back(static_cast<std::byte>(bits >> 8));
        }
      }
      return bytes;
    };
    std::vector<std::byte> expected(kM * kN * 4);
    ExecuteGemm(*program, to_bytes(a), to_bytes(b), expected);
    std::vector<float> found(kM * kN);
    AlignedVector<std::byte> memory;
    if (type == NpuType::kI8) {
      PackedInt8 packed(kN, kK, kK);
      memory.resize(packed.bytes());
      packed.Attach(memory.data());
      for (int64_t n = 0; n < kN; ++n) PackInt8Row(packed, n, std::span(b).subspan(static_cast<size_t>(n * kK), kK));
      Int8Rows rows;
      rows.Resize(kM, packed);
      for (int64_t m = 0; m < kM; ++m) QuantizeInt8Row(rows, m, a.data() + m * kK, kK, kK);
      for (int64_t panel = 0; panel * kNpuPanel < kN; ++panel) {
        MultiplyInt8Panel(packed, panel, rows, 0, kM, found.data(), kN);
      }
    } else {
      PackedBf16 packed{.n = kN, .k = kK};
      memory.resize(packed.bytes());
      packed.Attach(memory.data());
      for (int64_t n = 0; n < kN; ++n) PackBf16Row(packed, n, std::span(b).subspan(static_cast<size_t>(n * kK), kK));
      for (int64_t panel = 0; panel * kNpuPanel < kN; ++panel) {
        MultiplyBf16Panel(packed, panel, a.data(), 0, kM, found.data(), kN);
      }
    }
    for (size_t i = 0; i < found.size(); ++i) {
      float wanted = 0;
      if (type == NpuType::kI8) {
        int32_t sum = 0;
        std::memcpy(&sum, expected.data() + 4 * i, 4);
        wanted = static_cast<float>(sum);
      } else {
        std::memcpy(&wanted, expected.data() + 4 * i, 4);
      }
      ASSERT_EQ(found[i], wanted) << NpuTypeName(type) << " " << i;
    }
  }
}

}  // namespace
}  // namespace lem
