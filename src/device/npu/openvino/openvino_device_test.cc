// `npu-openvino` on small random models with every op: near the reference in each precision however steps are cut,
// packed and placed in contexts; nothing compiled or converted twice, or again at a second start; errors in words.
//
// Needs the plug-in beside the test program, or named by LEM_OPENVINO_PLUGIN; without it only the errors are tested.
#include "device/npu/openvino/openvino_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include "device/npu/openvino/openvino_program.h"
#include "device/npu/openvino/openvino_weights.h"
#include "device/reference.h"
#include "device/testing/tiny_graph.h"
#include "memory/kv_block_pool.h"
#include "tensor/half.h"

namespace lem {
namespace {

using testing::HasSubstr;

namespace fs = std::filesystem;

Segment AllOf(const Graph& graph) { return {0, static_cast<int32_t>(graph.ops.size())}; }

OpenVinoOptions TestOptions(NpuPrecisionMode mode) {
  OpenVinoOptions options = OpenVinoOptionsFromEnvironment();
  options.compile = {.mode = mode};
  return options;
}

// What a converted weight stands for.
std::vector<float> Values(const WeightDesc& desc, std::span<const std::byte> bytes, NpuPrecision precision,
                          int64_t group, MemoryManager& memory) {
  const auto weight = *ConvertOpenVinoWeight(desc, bytes, precision, group, BestKernelTable(), memory);
  const openvino::Weight& view = weight->view;
  std::vector<float> values;
  for (int64_t row = 0; row < view.rows; ++row) {
    for (int64_t k = 0; k < view.cols; ++k) {
      const int64_t at = row * view.groups + k / view.group, idx = row * view.groups * view.group + k;
      if (view.type == openvino::WeightType::kBf16) {
        values.push_back(Bfloat16ToFloat(static_cast<const uint16_t*>(view.values)[row * view.cols + k]));
      } else if (view.type == openvino::WeightType::kInt8) {
        values.push_back(view.scales[at] * static_cast<float>(static_cast<const int8_t*>(view.values)[idx]));
      } else {
        const int level = static_cast<const uint8_t*>(view.values)[idx / 2] >> (idx % 2 * 4) & 15;
        values.push_back(view.scales[at] * (static_cast<float>(level) - view.zero_points[at]));
      }
    }
  }
  return values;
}

// Rows of one sequence in a step.
struct Feed {
  size_t sequence = 0;
  int64_t num_rows = 0;
};

// Some sequences of a model on the device; keeps the logits of every row.
class Session {
 public:
  Session(const TinyGraph& model, const OpenVinoOptions& options, std::vector<std::vector<int32_t>> sequences)
      : model_(model), bound_(model.bound()), tokens_(std::move(sequences)) {
    auto device = MakeOpenVinoDevice(options, pool_, BestKernelTable(), *memory_);
    if (!device.ok()) {
      why_ = device.status().ToString();
      return;
    }
    device_ = std::move(*device);
    auto executable = device_->Compile(bound_, AllOf(model.graph), {512, 512});
    EXPECT_TRUE(executable.ok()) << executable.status().ToString();
    executable_ = std::move(*executable);
    size_t blocks = 0;
    for (const auto& tokens : tokens_) blocks += tokens.size() / kKvBlockTokens + 1;
    kv_ = std::move(
        *KvBlockPool::Create(*memory_, MakeKvBlockLayout(model.graph.kv).block_bytes, static_cast<int64_t>(blocks)));
    // Memory that was used before holds anything: NaNs must not leak into results.
    std::memset(kv_->base(), 0xff, kv_->block_bytes() * blocks);
    // Tables are interleaved, so that no sequence's blocks lie in a row.
    tables_.resize(tokens_.size());
    for (size_t block = 0; block < blocks; ++block) {
      for (size_t s = 0; s < tokens_.size(); ++s) {
        if (tables_[s].size() < tokens_[s].size() / kKvBlockTokens + 1) tables_[s].push_back(*kv_->Allocate());
      }
    }
    done_.resize(tokens_.size());
    logits_.resize(tokens_.size());
  }

  bool is_there() const { return device_ != nullptr; }
  const std::string& why() const { return why_; }

  void Step(const std::vector<Feed>& feeds) {
    std::vector<int32_t> tokens, output_rows;
    std::vector<SequenceRows> rows;
    for (const Feed& feed : feeds) {
      const int64_t first = done_[feed.sequence];
      rows.push_back({static_cast<int64_t>(tokens.size()), feed.num_rows, first, tables_[feed.sequence]});
      const auto begin = tokens_[feed.sequence].begin() + first;
      tokens.insert(tokens.end(), begin, begin + feed.num_rows);
    }
    for (size_t i = 0; i < tokens.size(); ++i) output_rows.push_back(static_cast<int32_t>(i));
    const auto vocab = static_cast<size_t>(model_.graph.vocab_size);
    std::vector<float> logits(tokens.size() * vocab);
    const ValueBinding values[] = {{model_.graph.logits, logits.data()}};
    const Status status =
        device_->Submit(*executable_, {tokens, rows, output_rows, kv_->base(), kv_->block_bytes(), values}, {}).Wait();
    EXPECT_TRUE(status.ok()) << status.ToString();
    auto from = logits.begin();
    for (const Feed& feed : feeds) {
      const auto count = feed.num_rows * static_cast<int64_t>(vocab);
      logits_[feed.sequence].insert(logits_[feed.sequence].end(), from, from + count);
      from += count;
      done_[feed.sequence] += feed.num_rows;
    }
  }

  // The worst error of all sequences so far.
  double ErrorAgainst(const BoundGraph& reference) const {
    double worst = 0;
    for (size_t s = 0; s < tokens_.size(); ++s) {
      if (done_[s] == 0) continue;
      const auto expected = RunReference(reference, std::span(tokens_[s]).first(static_cast<size_t>(done_[s])));
      worst = std::max(worst, NormalisedError(logits_[s], expected));
      EXPECT_FALSE(std::isnan(worst));
    }
    return worst;
  }

  OpenVinoDevice& device() { return *device_; }
  Executable& executable() { return *executable_; }
  MemoryManager& memory() { return *memory_; }
  const std::vector<float>& logits(size_t sequence) const { return logits_[sequence]; }

 private:
  const TinyGraph& model_;
  const BoundGraph bound_;
  std::unique_ptr<MemoryManager> memory_ = std::move(*MemoryManager::Create());
  ThreadPool pool_{2};
  std::string why_;
  std::unique_ptr<OpenVinoDevice> device_;
  std::unique_ptr<Executable> executable_;
  std::unique_ptr<KvBlockPool> kv_;
  std::vector<std::vector<int32_t>> tokens_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<int64_t> done_;
  std::vector<std::vector<float>> logits_;
};

// The model with its matrices as the device multiplies by them, in float32: what is left is the error of the
// arithmetic. Embeddings are not converted, so a product with their table gets a weight of its own.
TinyGraph WithConvertedWeights(const TinyGraph& model, const NpuCompileOptions& compile) {
  const auto memory = std::move(*MemoryManager::Create());
  TinyGraph rounded;
  rounded.graph = model.graph;
  const auto add = [&](size_t slot, bool convert) {
    const WeightDesc& desc = model.table.desc(model.handles[slot]);
    const std::span<const std::byte> bytes = model.table.host_bytes(model.handles[slot]);
    auto values = std::make_shared<std::vector<float>>(bytes.size() / sizeof(float));
    std::memcpy(values->data(), bytes.data(), bytes.size());
    if (convert) *values = Values(desc, bytes, PrecisionOf(compile, desc.dtype), compile.scale_group, *memory);
    rounded.handles.push_back(rounded.table.Add(desc, std::as_bytes(std::span(*values)), values));
  };
  for (size_t slot = 0; slot < model.handles.size(); ++slot) add(slot, false);
  for (Op& op : rounded.graph.ops) {
    auto* linear = std::get_if<LinearOp>(&op.body);
    if (linear == nullptr) continue;
    rounded.graph.weights.push_back(rounded.graph.weights[static_cast<size_t>(linear->weight)]);
    add(static_cast<size_t>(linear->weight), true);
    linear->weight = static_cast<WeightSlot>(rounded.graph.weights.size() - 1);
  }
  return rounded;
}

// Of float32 sums with keys and values in float16.
constexpr double kArithmeticError = 1e-6;

const TinyGraphShape kShapes[] = {{}, {.window = 20, .softcap = 30, .gemma_like = true}, {.num_kv_heads = 4}};

class OpenVinoDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto caps = OpenVinoCaps(OpenVinoOptionsFromEnvironment()); !caps.ok()) {
      GTEST_SKIP() << "OpenVINO: " << caps.status().message();
    }
  }
};

TEST_F(OpenVinoDeviceTest, NearTheReference) {
  for (const TinyGraphShape& shape : kShapes) {
    const TinyGraph model = MakeTinyGraph(shape);
    const std::pair<NpuPrecisionMode, double> bounds[] = {
        {NpuPrecisionMode::kBf16, 1e-4}, {NpuPrecisionMode::kInt8, 1e-2}, {NpuPrecisionMode::kInt4, 1}};
    for (const auto& [mode, bound] : bounds) {
      Session session(model, TestOptions(mode), {TinyTokens(70)});
      session.Step({{0, 70}});
      const double error = session.ErrorAgainst(model.bound());
      EXPECT_LT(error, bound) << NpuPrecisionModeName(mode);
      EXPECT_GT(error, 1e-9) << "float32 weights would be no NPU's";
      const TinyGraph rounded = WithConvertedWeights(model, {.mode = mode});
      EXPECT_LT(session.ErrorAgainst(rounded.bound()), kArithmeticError) << NpuPrecisionModeName(mode);
    }
  }
}

// A step's rows in one piece or many, over the edges of buckets and of contexts.
TEST_F(OpenVinoDeviceTest, StepsOfAnySizeAgree) {
  const std::vector<int64_t> cuts[] = {{300}, {1, 299}, {128, 128, 44}, {7, 9, 200, 84}, {255, 1, 1, 1, 1, 41}};
  for (const TinyGraphShape& shape : kShapes) {
    const TinyGraph model = MakeTinyGraph(shape);
    const std::vector<std::vector<int32_t>> sequences(std::size(cuts), TinyTokens(300));
    Session session(model, TestOptions(NpuPrecisionMode::kMix), sequences);
    for (size_t s = 0; s < std::size(cuts); ++s) {
      for (const int64_t size : cuts[s]) session.Step({{s, size}});
    }
    EXPECT_LT(session.ErrorAgainst(WithConvertedWeights(model, {}).bound()), kArithmeticError);
  }
}

// Prompts and answers of several sequences in one step; none sees another's keys, whatever lies in unused memory.
TEST_F(OpenVinoDeviceTest, SequencesArePacked) {
  for (const TinyGraphShape& shape : kShapes) {
    const TinyGraph model = MakeTinyGraph(shape);
    const TinyGraph rounded = WithConvertedWeights(model, {.mode = NpuPrecisionMode::kInt8});
    const std::vector<int32_t> all = TinyTokens(700);
    const auto part = [&](size_t begin, size_t count) {
      return std::vector<int32_t>(all.begin() + static_cast<std::ptrdiff_t>(begin),
                                  all.begin() + static_cast<std::ptrdiff_t>(begin + count));
    };
    Session session(model, TestOptions(NpuPrecisionMode::kInt8),
                    {part(0, 40), part(40, 300), part(340, 25), part(365, 290), part(655, 17)});
    session.Step({{0, 20}, {1, 270}, {2, 3}});
    session.Step({{0, 1}, {1, 1}, {3, 280}, {2, 1}});
    for (int i = 0; i < 4; ++i) session.Step({{0, 1}, {1, 1}, {2, 1}, {3, 1}});  // more past than one context holds
    session.Step({{4, 17}, {2, 17}, {1, 25}, {0, 15}});
    EXPECT_LT(session.ErrorAgainst(rounded.bound()), kArithmeticError);
  }
}

TEST_F(OpenVinoDeviceTest, RandomShapes) {
  std::mt19937 random(11);
  const auto pick = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint32_t>(high - low + 1));
  };
  for (int round = 0; round < 20; ++round) {
    const int64_t kv_heads = pick(1, 3);
    const TinyGraphShape shape{.num_heads = kv_heads * pick(1, 3),
                               .num_kv_heads = kv_heads,
                               .head_dim = 16 * pick(1, 5),
                               .window = pick(0, 1) * pick(1, 40),
                               .softcap = pick(0, 1) == 0 ? 0.0f : 20.0f,
                               .gemma_like = pick(0, 1) == 1,
                               .num_layers = static_cast<int32_t>(pick(1, 2))};
    const auto mode = static_cast<NpuPrecisionMode>(pick(0, 3));
    const TinyGraph model = MakeTinyGraph(shape);
    OpenVinoOptions options = TestOptions(mode);
    options.row_buckets = {1 + pick(0, 1) * pick(0, 20), 40 + pick(1, 90)};
    std::vector<std::vector<int32_t>> sequences;
    std::vector<int64_t> left;
    for (int64_t i = pick(1, 4); i > 0; --i) {
      left.push_back(pick(1, 120));
      sequences.push_back(TinyTokens(static_cast<size_t>(left.back())));
    }
    Session session(model, options, sequences);
    while (true) {
      std::vector<Feed> feeds;
      for (size_t s = 0; s < left.size(); ++s) {
        const int64_t rows = std::min(left[s], pick(0, 1) == 0 ? pick(0, 1) : pick(1, 60));
        if (rows == 0) continue;
        feeds.push_back({s, rows});
        left[s] -= rows;
      }
      if (!feeds.empty()) session.Step(feeds);
      if (std::ranges::all_of(left, [](int64_t rows) { return rows == 0; })) break;
    }
    EXPECT_LT(session.ErrorAgainst(WithConvertedWeights(model, {.mode = mode}).bound()), kArithmeticError)
        << "round " << round << ", " << NpuPrecisionModeName(mode);
  }
}

TEST_F(OpenVinoDeviceTest, NothingIsCompiledOrConvertedTwice) {
  const TinyGraph model = MakeTinyGraph({});
  Session session(model, TestOptions(NpuPrecisionMode::kMix), {TinyTokens(100)});
  session.Step({{0, 40}});
  const OpenVinoStats before = session.device().stats();
  EXPECT_EQ(before.graphs_compiled, 6) << "three numbers of rows, for tokens and for outputs";
  EXPECT_EQ(before.graphs_from_cache, 0);
  EXPECT_GT(before.weights_converted, 0);
  EXPECT_GT(before.compile_s, 0);
  EXPECT_EQ(before.rows, 80u) << "rows of tokens and of outputs";
  EXPECT_GE(before.bucket_rows, before.rows);
  const BoundGraph bound = model.bound();
  for (const int64_t bucket : {1, 8, 128}) {
    ASSERT_TRUE(session.device().Compile(bound, AllOf(model.graph), {bucket, bucket}).ok());
  }
  session.Step({{0, 60}});
  const OpenVinoStats after = session.device().stats();
  EXPECT_EQ(after.graphs_compiled, before.graphs_compiled);
  EXPECT_EQ(after.weights_converted, before.weights_converted);
  const DeviceTelemetry telemetry = session.device().telemetry();
  EXPECT_EQ(telemetry.submissions, 2u);
  EXPECT_GT(telemetry.busy_seconds, 0);
  EXPECT_GE(telemetry.memory_bytes, after.weight_bytes + after.graph_bytes);
  EXPECT_GE(session.memory().used_bytes(MemoryUse::kWeights), after.weight_bytes);
  EXPECT_GT(session.memory().ledger().AccountOf("npu-openvino").bytes(TransferCause::kWeights), 0u);
}

// The next context's graph is made while the last quarter of this one is used.
TEST_F(OpenVinoDeviceTest, TheNextContextIsCompiledAhead) {
  const TinyGraph model = MakeTinyGraph({});
  Session session(model, TestOptions(NpuPrecisionMode::kMix), {TinyTokens(270)});
  session.Step({{0, 180}});
  const int64_t first = session.device().stats().graphs_compiled;
  session.Step({{0, 20}});
  session.Step({{0, 1}});
  for (int i = 0; i < 200 && session.device().stats().graphs_compiled == first; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_GT(session.device().stats().graphs_compiled, first);
  session.Step({{0, 69}});
  EXPECT_LT(session.ErrorAgainst(WithConvertedWeights(model, {}).bound()), kArithmeticError);
}

class CacheTest : public OpenVinoDeviceTest {
 protected:
  void SetUp() override {
    OpenVinoDeviceTest::SetUp();
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Error of a fresh device's answers; fills stats_.
  double Answer(const TinyGraph& model) {
    OpenVinoOptions options = TestOptions(NpuPrecisionMode::kInt8);
    options.cache_folder = folder_;
    Session session(model, options, {TinyTokens(50)});
    if (!session.is_there()) {
      ADD_FAILURE() << session.why();
      return 1;
    }
    session.Step({{0, 45}});
    for (int i = 0; i < 5; ++i) session.Step({{0, 1}});
    stats_ = session.device().stats();
    return session.ErrorAgainst(WithConvertedWeights(model, {.mode = NpuPrecisionMode::kInt8}).bound());
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / ("lem_openvino_cache_" + std::to_string(::getpid()));
  OpenVinoStats stats_;
};

TEST_F(CacheTest, TheSecondStartLoadsWhatTheFirstCompiled) {
  const TinyGraph model = MakeTinyGraph({});
  EXPECT_LT(Answer(model), kArithmeticError);
  const int64_t compiled = stats_.graphs_compiled;
  EXPECT_GT(compiled, 0);
  EXPECT_EQ(stats_.graphs_from_cache, 0);
  EXPECT_LT(Answer(model), kArithmeticError);
  EXPECT_EQ(stats_.graphs_compiled, 0);
  EXPECT_EQ(stats_.graphs_from_cache, compiled);
}

// Graphs that differ in nothing but their weights are not taken for each other.
TEST_F(CacheTest, KnowsWeightsApart) {
  const TinyGraph model = MakeTinyGraph({});
  EXPECT_LT(Answer(model), kArithmeticError);
  TinyGraph other;
  other.graph = model.graph;
  for (const WeightHandle handle : model.handles) {
    const auto bytes = model.table.host_bytes(handle);
    auto values = std::make_shared<std::vector<float>>(bytes.size() / sizeof(float));
    std::memcpy(values->data(), bytes.data(), bytes.size());
    std::ranges::reverse(*values);
    other.handles.push_back(other.table.Add(model.table.desc(handle), std::as_bytes(std::span(*values)), values));
  }
  EXPECT_LT(Answer(other), kArithmeticError);
  EXPECT_EQ(stats_.graphs_from_cache, 0);
}

TEST_F(CacheTest, DamagedFilesAreCompiledAgain) {
  const TinyGraph model = MakeTinyGraph({});
  EXPECT_LT(Answer(model), kArithmeticError);
  int i = 0;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    fs::permissions(entry.path(), fs::perms::owner_all);
    switch (i++ % 3) {
      case 0:
        std::ofstream(entry.path(), std::ios::trunc) << "garbage";
        break;
      case 1:
        fs::resize_file(entry.path(), fs::file_size(entry.path()) / 2);
        break;
      default:
        std::ofstream(entry.path(), std::ios::trunc).close();
    }
  }
  EXPECT_GT(i, 2);
  EXPECT_LT(Answer(model), kArithmeticError);
}

TEST_F(CacheTest, AFolderThatCannotBeMadeIsNotFatal) {
  std::ofstream(folder_) << "a file in its place";
  EXPECT_LT(Answer(MakeTinyGraph({})), kArithmeticError);
  EXPECT_GT(stats_.graphs_compiled, 0);
}

TEST_F(OpenVinoDeviceTest, PlaysLost) {
  const TinyGraph model = MakeTinyGraph({});
  OpenVinoOptions options = TestOptions(NpuPrecisionMode::kMix);
  options.lose_after = 2;
  Session session(model, options, {TinyTokens(10)});
  session.Step({{0, 4}});
  session.Step({{0, 4}});
  EXPECT_TRUE(session.device().health().ok());
  const Status status = session.device().Submit(session.executable(), {}, {}).Wait();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("lost"));
  EXPECT_FALSE(session.device().health().ok());
}

TEST_F(OpenVinoDeviceTest, SaysWhatItRunsOn) {
  OpenVinoOptions options = OpenVinoOptionsFromEnvironment();
  const DeviceCaps caps = *OpenVinoCaps(options);
  EXPECT_EQ(caps.id, "npu-openvino");
  EXPECT_THAT(caps.driver, HasSubstr("OpenVINO 20"));
  EXPECT_FALSE(caps.emulated);
  EXPECT_TRUE(caps.compiles_slowly);
  options.device = "CPU";
  const DeviceCaps on_cpu = *OpenVinoCaps(options);
  EXPECT_EQ(on_cpu.name, "OpenVINO on CPU");
  EXPECT_EQ(on_cpu.prefill_numerics, "openvino-cpu-f32-mix-g32");
  options.device = "NPU";
  const Result<DeviceCaps> on_npu = OpenVinoCaps(options);
  if (on_npu.ok()) GTEST_SKIP() << "there is an NPU: " << on_npu->name;
  EXPECT_EQ(caps.name, "OpenVINO on CPU (no NPU found)");
  EXPECT_EQ(on_npu.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(on_npu.status().message(), HasSubstr("no NPU found"));
  options.device = "TPU";
  EXPECT_EQ(OpenVinoCaps(options).status().code(), StatusCode::kUnavailable);
}

// These need no OpenVINO.
TEST(OpenVinoPluginTest, IsNotThere) {
  const Result<DeviceCaps> caps = OpenVinoCaps({.plugin = "/nonexistent/plugin.so"});
  EXPECT_EQ(caps.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(caps.status().message(), HasSubstr("/nonexistent/plugin.so"));
}

TEST(OpenVinoPluginTest, IsNoLibrary) {
  const fs::path path = fs::path(testing::TempDir()) / ("lem_no_library_" + std::to_string(::getpid()) + ".so");
  std::ofstream(path) << "text";
  const Result<DeviceCaps> caps = OpenVinoCaps({.plugin = path.string()});
  EXPECT_THAT(caps.status().message(), HasSubstr("cannot be loaded: "));
  fs::remove(path);
}

TEST(OpenVinoPluginTest, IsAnotherLibrary) {
  EXPECT_THAT(OpenVinoCaps({.plugin = "libm.so.6"}).status().message(), HasSubstr("there is no plug-in 'libm.so.6'"));
  EXPECT_THAT(OpenVinoCaps({.plugin = LEM_NOT_A_PLUGIN}).status().message(), HasSubstr("lem_openvino_runtime"));
}

TEST(OpenVinoPluginTest, IsOfAnotherVersion) {
  const Result<DeviceCaps> caps = OpenVinoCaps({.plugin = LEM_OLD_PLUGIN});
  EXPECT_EQ(caps.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(caps.status().message(), HasSubstr("of another version"));
}

// A group whose values are all one, and one on a grid, are kept exactly in 4 bits.
TEST(OpenVinoWeightsTest, FourBitsHoldAGrid) {
  const auto memory = std::move(*MemoryManager::Create());
  std::vector<float> values(96);
  for (size_t i = 0; i < 32; ++i) {
    values[i] = 0.75f;
    values[32 + i] = -0.5f + 0.125f * static_cast<float>(i % 16);
    values[64 + i] = 0.0f;
  }
  const WeightDesc desc{"grid", DType::kF32, Layout::kGgufRows, 1, 96, values.size() * sizeof(float)};
  EXPECT_EQ(Values(desc, std::as_bytes(std::span(values)), NpuPrecision::kInt4, 32, *memory), values);
  EXPECT_FALSE(
      ConvertOpenVinoWeight(desc, std::as_bytes(std::span(values)), NpuPrecision::kInt4, 33, BestKernelTable(), *memory)
          .ok());
}

TEST(OpenVinoProgramTest, ContextsGrowFourfold) {
  EXPECT_EQ(OpenVinoContextBucket(0), 256);
  EXPECT_EQ(OpenVinoContextBucket(256), 256);
  EXPECT_EQ(OpenVinoContextBucket(257), 1024);
  EXPECT_EQ(OpenVinoContextBucket(5000), 16384);
}

}  // namespace
}  // namespace lem
