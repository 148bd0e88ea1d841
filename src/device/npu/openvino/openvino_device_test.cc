// `npu-openvino` on small random models with every op: near the reference in each precision however steps are cut,
// packed and placed in contexts; nothing compiled or converted twice, or again at a second start; errors in words.
//
// Needs the plug-in beside the test program, or named by LEM_OPENVINO_PLUGIN; without it only the errors are tested.
#include "device/npu/openvino/openvino_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>

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

// Rows of one sequence in a step; its tokens and how many of them are in the cache.
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
        {NpuPrecisionMode::kBf16, 1e-4}, {NpuPrecisionMode::kInt8, 1e-2}, {NpuPrecisionMode::kMix, 1e-2}};
    for (const auto& [mode, bound] : bounds) {
      Session session(model, TestOptions(mode), {TinyTokens(70)});
      ASSERT_TRUE(session.is_there()) << session.why();
      session.Step({{0, 70}});
      const double error = session.ErrorAgainst(model.bound());
      std::printf("%s %g\n", std::string(NpuPrecisionModeName(mode)).c_str(), error);
      EXPECT_LT(error, bound) << NpuPrecisionModeName(mode);
      EXPECT_GT(error, 1e-9) << "float32 weights would be no NPU's";
    }
  }
}

}  // namespace
}  // namespace lem
