// Real models in the NPU's number formats: near float32 in logits, perplexity and greedy choices. Needs
// LEM_TEST_MODELS, a folder with the model files. By default the start of the text; LEM_TEST_LONG=1: all of it.
#include "apps/lem-bench/npu_accuracy.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "device/npu/openvino/openvino_device.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

struct AccuracyCase {
  const char* name;
  const char* device;
  std::vector<NpuPrecisionMode> modes;
};

class NpuAccuracyTest : public testing::TestWithParam<AccuracyCase> {};

TEST_P(NpuAccuracyTest, SmolLm2) {
  const char* folder = std::getenv("LEM_TEST_MODELS");
  if (folder == nullptr || folder[0] == '\0') GTEST_SKIP() << "LEM_TEST_MODELS is not set";
  const fs::path model = fs::path(folder) / "smollm2-135m.gguf";
  if (!fs::exists(model)) GTEST_SKIP() << model << " is not there";
  const char* is_long = std::getenv("LEM_TEST_LONG");
  const fs::path tests = fs::path(LEM_SOURCE_DIR) / "tests";
  NpuAccuracyOptions options;
  options.device = GetParam().device;
  if (options.device == "npu-openvino") {
    const Result<DeviceCaps> caps = OpenVinoCaps(OpenVinoOptionsFromEnvironment());
    if (!caps.ok()) GTEST_SKIP() << "OpenVINO: " << caps.status().message();
  }
  options.model = model;
  options.text = tests / "data/text/alice.txt";
  options.golden = tests / "golden/smollm2-135m-instruct-q4_1.logits.json";
  options.modes = GetParam().modes;
  options.max_tokens = is_long != nullptr && std::string_view(is_long) == "1" ? 0 : 512;
  options.reference_tokens = 8;
  const Result<NpuAccuracyReport> report = MeasureNpuAccuracy(options);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  if (options.max_tokens == 0) EXPECT_GE(report->num_tokens, 4000);
  EXPECT_LT(report->cpu_error, 1e-6) << "the CPU stands for the scalar reference";
  std::printf("%s\n", report->device_name.c_str());
  for (const NpuAccuracyResult& mode : report->modes) {
    std::printf(
        "%s: %.0f %% int8, %.0f %% int4, %.0f %% bf16, NMSE %.2e, perplexity %.4f (float32 %.4f), greedy %ld of %ld\n",
        std::string(NpuPrecisionModeName(mode.mode)).c_str(), 100 * mode.shares[0], 100 * mode.shares[1],
        100 * mode.shares[2], mode.logits_error, mode.perplexity, report->perplexity,
        static_cast<long>(mode.greedy_agreed), static_cast<long>(report->num_greedy));
    EXPECT_NEAR(mode.perplexity / report->perplexity, 1, 0.02) << NpuPrecisionModeName(mode.mode);
    EXPECT_GE(static_cast<double>(mode.greedy_agreed), 0.9 * static_cast<double>(report->num_greedy));
    EXPECT_LT(mode.logits_error, mode.mode == NpuPrecisionMode::kBf16 ? 1e-4 : 1e-2);
  }
}

using Mode = NpuPrecisionMode;
// One mode at a time on OpenVINO, which keeps a copy of the weights for each graph.
INSTANTIATE_TEST_SUITE_P(Devices, NpuAccuracyTest,
                         testing::Values(AccuracyCase{"Emulator", "npu-emu", {Mode::kMix, Mode::kInt8, Mode::kBf16}},
                                         AccuracyCase{"OpenVinoMix", "npu-openvino", {Mode::kMix}},
                                         AccuracyCase{"OpenVinoInt8", "npu-openvino", {Mode::kInt8}},
                                         AccuracyCase{"OpenVinoBf16", "npu-openvino", {Mode::kBf16}}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace lem
