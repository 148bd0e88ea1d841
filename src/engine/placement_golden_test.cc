// Real models on every form of placement, teacher-forced over the golden prompts and answers: logits near the scalar
// reference, the greedy token that exact arithmetic chooses, and no bytes moved that need not be.
//
// Needs LEM_TEST_MODELS, a folder with the model files, and a Vulkan device or OpenVINO. By default the two shortest
// cases of SmolLM2; LEM_TEST_LONG=1: every case of every model that is there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "device/cpu/cpu_device.h"
#include "device/npu/openvino/openvino_device.h"
#include "device/reference.h"
#include "device/testing/tiny_graph.h"
#include "device/vulkan/vulkan_device.h"
#include "executor/testing/placed_session.h"
#include "models/model.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

// The margin of the two likeliest tokens, in nats, above which the choice must be that of exact arithmetic.
constexpr double kClearMargin = 0.3;
constexpr double kMaxNormalisedError = 1e-5;     // of float32 products
constexpr double kMaxNormalisedErrorF16 = 1e-3;  // of float16 products

constexpr const char* kPlacements[] = {
    "all vulkan:0",           "prefill vulkan:0; decode cpu", "layers 0-14 vulkan:0; rest cpu",
    "ffn vulkan:0; rest cpu", "rows 0.5 vulkan:0; rest cpu",  "all cpu",
};

struct NpuPlacement {
  NpuPrecisionMode mode;
  const char* placement;
  double max_error;
};
// Of weights rounded to bfloat16 or int8.
constexpr NpuPlacement kNpuPlacements[] = {
    {NpuPrecisionMode::kBf16, "all npu-openvino", 1e-4},
    {NpuPrecisionMode::kBf16, "prefill npu-openvino; decode cpu", 1e-4},
    {NpuPrecisionMode::kBf16, "ffn npu-openvino; rest cpu", 1e-4},
    {NpuPrecisionMode::kBf16, "rows 0.5 npu-openvino; rest cpu", 1e-4},
    {NpuPrecisionMode::kInt8, "all npu-openvino", 1e-2},
    {NpuPrecisionMode::kMix, "all npu-openvino", 1e-2},
};

struct GoldenModel {
  const char* file;
  const char* golden;
};

struct GoldenCase {
  std::vector<int32_t> prompt, greedy;
  std::vector<bool> is_clear;    // of each greedy token
  std::vector<float> reference;  // [prompt + greedy, vocab]
};

std::vector<int32_t> Ids(const JsonValue& array) {
  std::vector<int32_t> ids;
  for (const JsonValue& id : array.as_array()) ids.push_back(static_cast<int32_t>(id.as_int64()));
  return ids;
}

bool IsLong() {
  const char* text = std::getenv("LEM_TEST_LONG");
  return text != nullptr && std::string_view(text) == "1";
}

std::vector<GoldenCase> ReadCases(const fs::path& path, const BoundGraph& model) {
  std::vector<GoldenCase> cases;
  const JsonValue golden = *ParseJson(*ReadFile(path));
  for (const JsonValue& json : golden.at("cases").as_array()) {
    GoldenCase& c = cases.emplace_back();
    c.prompt = Ids(json.at("prompt_ids"));
    c.greedy = Ids(json.at("greedy_ids"));
    for (const JsonValue& step : json.at("steps").as_array()) {
      const JsonArray& best = step.at("top_logprobs").as_array();
      c.is_clear.push_back(best[0].as_double() - best[1].as_double() >= kClearMargin);
    }
  }
  std::ranges::sort(cases, {}, [](const GoldenCase& c) { return c.prompt.size(); });
  if (!IsLong()) cases.resize(2);
  for (GoldenCase& c : cases) {
    std::vector<int32_t> all = c.prompt;
    all.insert(all.end(), c.greedy.begin(), c.greedy.end());
    c.reference = RunReference(model, all);
  }
  return cases;
}

class PlacementGoldenTest : public testing::TestWithParam<GoldenModel> {
 protected:
  // Runs all cases and returns the worst normalised error; checks the choices.
  double RunCases(const PlacedModel& placed, const std::vector<GoldenCase>& cases) {
    size_t longest = 0;
    for (const GoldenCase& c : cases) longest = std::max(longest, c.prompt.size() + c.greedy.size());
    auto created =
        PlacedSession::Create(placed, *memory_, static_cast<int64_t>(longest), static_cast<int64_t>(longest));
    EXPECT_TRUE(created.ok()) << created.status().ToString();
    PlacedSession& session = **created;
    double worst = 0;
    int num_clear = 0;
    for (const GoldenCase& c : cases) {
      session.Reset();
      Status status = session.Run(c.prompt, Phase::kPrefill);
      for (size_t i = 0; i < c.greedy.size() && status.ok(); ++i) {
        const uint64_t weights = account_->bytes(TransferCause::kWeights),
                       kv = account_->bytes(TransferCause::kKvCache);
        status = session.Step({&c.greedy[i], 1}, Phase::kDecode);
        if (!shares_) continue;
        EXPECT_EQ(account_->bytes(TransferCause::kWeights), weights) << "a step moved weights";
        EXPECT_EQ(account_->bytes(TransferCause::kKvCache), kv) << "a step moved keys and values";
      }
      EXPECT_TRUE(status.ok()) << status.ToString();
      if (!status.ok()) return 1;
      const std::vector<float>& logits = session.logits();
      worst = std::max(worst, NormalisedError(logits, c.reference));
      const auto vocab = static_cast<size_t>(placed.graph().vocab_size);
      for (size_t i = 0; i < c.greedy.size(); ++i) {
        if (!c.is_clear[i]) continue;
        ++num_clear;
        const auto row = logits.begin() + static_cast<std::ptrdiff_t>((c.prompt.size() - 1 + i) * vocab);
        const auto best = std::max_element(row, row + static_cast<std::ptrdiff_t>(vocab));
        EXPECT_EQ(best - row, c.greedy[i]) << "token " << i << " of the answer";
      }
    }
    EXPECT_GT(num_clear, 5);
    return worst;
  }

  std::unique_ptr<MemoryManager> memory_ = std::move(*MemoryManager::Create());
  const TransferLedger::Account* account_ = &memory_->ledger().AccountOf("vulkan:0");
  bool shares_ = false;
};

TEST_P(PlacementGoldenTest, EveryPlacementIsNearTheReference) {
  const char* folder = std::getenv("LEM_TEST_MODELS");
  if (folder == nullptr || folder[0] == '\0') GTEST_SKIP() << "LEM_TEST_MODELS is not set";
  const fs::path path = fs::path(folder) / GetParam().file;
  if (!fs::exists(path)) GTEST_SKIP() << path << " is not there";
  if (!IsLong() && std::string_view(GetParam().file) != "smollm2-135m.gguf") GTEST_SKIP() << "LEM_TEST_LONG is not 1";
  const VulkanDeviceOptions options = VulkanDeviceOptionsFromEnvironment();
  auto gpu = OpenVulkanDevice("vulkan:0", *memory_, options);
  if (!gpu.ok()) GTEST_SKIP() << "no Vulkan device: " << gpu.status().message();
  const DeviceCaps caps = (*gpu)->caps();
  const bool f16 = caps.prefill_numerics.find("f16") != std::string::npos;
  shares_ = (*gpu)->memory()->shares_host_memory();
  ThreadPool pool(0);
  DeviceRegistry devices;
  devices.Add(MakeCpuDevice(pool, BestKernelTable()));
  devices.Add(std::move(*gpu));

  const auto model = std::move(*LoadModel(path));
  const BoundGraph bound{&model->graph, model->bound_weights, &model->weights};
  const std::vector<GoldenCase> cases = ReadCases(fs::path(LEM_SOURCE_DIR) / "tests/golden" / GetParam().golden, bound);
  std::printf("%s, %zu cases, %s%s, %s memory\n", GetParam().file, cases.size(), caps.name.c_str(),
              caps.emulated ? " (emulated)" : "", shares_ ? "the host's" : "its own");
  for (const char* placement : kPlacements) {
    auto placed = PlacedModel::Create(bound, *ParsePlacement(placement), devices, *memory_);
    ASSERT_TRUE(placed.ok()) << placed.status().ToString();
    const double error = RunCases(**placed, cases);
    std::printf("  %-32s NMSE %.2e\n", placement, error);
    std::fflush(stdout);
    EXPECT_LT(error, f16 ? kMaxNormalisedErrorF16 : kMaxNormalisedError) << placement;
  }
}

TEST_P(PlacementGoldenTest, OpenVinoIsNearTheReference) {
  const char* folder = std::getenv("LEM_TEST_MODELS");
  if (folder == nullptr || folder[0] == '\0') GTEST_SKIP() << "LEM_TEST_MODELS is not set";
  const fs::path path = fs::path(folder) / GetParam().file;
  if (!fs::exists(path)) GTEST_SKIP() << path << " is not there";
  if (!IsLong() && std::string_view(GetParam().file) != "smollm2-135m.gguf") GTEST_SKIP() << "LEM_TEST_LONG is not 1";
  OpenVinoOptions options = OpenVinoOptionsFromEnvironment();
  const auto caps = OpenVinoCaps(options);
  if (!caps.ok()) GTEST_SKIP() << "OpenVINO: " << caps.status().message();
  ThreadPool pool(0);
  const auto model = std::move(*LoadModel(path));
  const BoundGraph bound{&model->graph, model->bound_weights, &model->weights};
  const std::vector<GoldenCase> cases = ReadCases(fs::path(LEM_SOURCE_DIR) / "tests/golden" / GetParam().golden, bound);
  std::printf("%s, %zu cases, %s\n", GetParam().file, cases.size(), caps->name.c_str());
  for (const NpuPlacement& each : kNpuPlacements) {
    options.compile.mode = each.mode;
    DeviceRegistry devices;
    devices.Add(MakeCpuDevice(pool, BestKernelTable()));
    devices.Add(std::move(*MakeOpenVinoDevice(options, pool, BestKernelTable(), *memory_)));
    auto placed = PlacedModel::Create(bound, *ParsePlacement(each.placement), devices, *memory_);
    ASSERT_TRUE(placed.ok()) << placed.status().ToString();
    const double error = RunCases(**placed, cases);
    std::printf("  %-32s %-4s NMSE %.2e\n", each.placement, std::string(NpuPrecisionModeName(each.mode)).c_str(),
                error);
    std::fflush(stdout);
    EXPECT_LT(error, each.max_error) << each.placement;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, PlacementGoldenTest,
                         testing::Values(GoldenModel{"smollm2-135m.gguf", "smollm2-135m-instruct-q4_1.logits.json"},
                                         GoldenModel{"gemma3-270m.gguf", "gemma3-270m-q4_k_m.logits.json"},
                                         GoldenModel{"qwen2.5-coder-0.5b.gguf",
                                                     "qwen2.5-coder-0.5b-instruct-q4_k_m.logits.json"}),
                         [](const auto& info) { return std::string(info.param.file).substr(0, 5); });

}  // namespace
}  // namespace lem
