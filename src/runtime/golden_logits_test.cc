// Real models against exact arithmetic: log probabilities of prompts and greedy answers within half of llama.cpp's own
// distance (tests/golden/README.md). Needs LEM_TEST_MODELS, a folder with the model files.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "base/file.h"
#include "base/json.h"
#include "runtime/local_service.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

struct GoldenModel {
  const char* file;
  const char* golden;
  double max_mean_difference;  // of log probabilities, in nats
};

class GoldenLogitsTest : public testing::TestWithParam<GoldenModel> {};

std::vector<int32_t> Ids(const JsonValue& array) {
  std::vector<int32_t> ids;
  for (const JsonValue& id : array.as_array()) ids.push_back(static_cast<int32_t>(id.as_int64()));
  return ids;
}

// Log probabilities of each token of `ids` given those before it, and the likeliest token at each place.
std::vector<TokenEvent> TeacherForced(LocalService& service, const std::vector<int32_t>& ids) {
  GenerateRequest request;
  request.prompt = ids;
  request.max_tokens = 0;
  request.num_logprobs = 1;
  request.prompt_logprobs = true;
  const auto generation = std::move(*service.Submit(std::move(request)));
  for (;;) {
    Event event = generation->Wait();
    if (auto* prompt = std::get_if<PromptLogprobsEvent>(&event)) return prompt->tokens;
    if (std::holds_alternative<FinishedEvent>(event)) return {};
  }
}

TEST_P(GoldenLogitsTest, NearExactArithmetic) {
  const char* folder = std::getenv("LEM_TEST_MODELS");
  if (folder == nullptr || folder[0] == '\0') GTEST_SKIP() << "LEM_TEST_MODELS is not set";
  const fs::path path = fs::path(folder) / GetParam().file;
  if (!fs::exists(path)) GTEST_SKIP() << path << " is not there";
  const fs::path golden_path = fs::path(LEM_SOURCE_DIR) / "tests/golden" / GetParam().golden;
  const JsonValue golden = *ParseJson(*ReadFile(golden_path));
  LocalService service({.models = {{"model", path}}});
  ASSERT_TRUE(service.WaitUntilLoaded().ok());

  double total = 0;
  int count = 0, clear_choices = 0;
  for (const JsonValue& test_case : golden.at("cases").as_array()) {
    const std::vector<int32_t> prompt = Ids(test_case.at("prompt_ids"));
    const std::vector<int32_t> greedy = Ids(test_case.at("greedy_ids"));
    std::vector<int32_t> all = prompt;
    all.insert(all.end(), greedy.begin(), greedy.end());
    const std::vector<TokenEvent> found = TeacherForced(service, all);
    ASSERT_EQ(found.size(), all.size());
    const JsonArray& expected = test_case.at("prompt_logprobs").as_array();
    for (size_t i = 1; i < prompt.size(); ++i, ++count) {
      total += std::abs(static_cast<double>(found[i].logprob) - expected[i].as_double());
    }
    const JsonArray& steps = test_case.at("steps").as_array();
    for (size_t i = 0; i < greedy.size(); ++i, ++count) {
      const TokenEvent& event = found[prompt.size() + i];
      const JsonArray& best = steps[i].at("top_logprobs").as_array();
      total += std::abs(static_cast<double>(event.logprob) - best[0].as_double());
      if (best[0].as_double() - best[1].as_double() < 0.3) continue;
      ++clear_choices;
      EXPECT_EQ(event.top.at(0).token, greedy[i]);
    }
  }
  EXPECT_GT(clear_choices, 50);
  std::printf("%s: mean |d logprob| %.5f over %d tokens\n", GetParam().file, total / count, count);
  EXPECT_LE(total / count, GetParam().max_mean_difference);
}

INSTANTIATE_TEST_SUITE_P(
    Models, GoldenLogitsTest,
    testing::Values(GoldenModel{"smollm2-135m.gguf", "smollm2-135m-instruct-q4_1.logits.json", 0.036},
                    GoldenModel{"gemma3-270m.gguf", "gemma3-270m-q4_k_m.logits.json", 0.037},
                    GoldenModel{"qwen2.5-coder-0.5b.gguf", "qwen2.5-coder-0.5b-instruct-q4_k_m.logits.json", 0.016}),
    [](const auto& info) { return std::string(info.param.file).substr(0, 5); });

}  // namespace
}  // namespace lem
