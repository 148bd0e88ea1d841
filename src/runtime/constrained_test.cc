// Answers under grammars on a small synthetic model: they match, forced tokens cost no step, limits hold.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <regex>

#include "grammar/grammar.h"
#include "models/testing/tiny_model.h"
#include "runtime/local_service.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  std::string text;
  std::vector<int32_t> tokens;
  FinishedEvent finished;
};

class ConstrainedTest : public testing::Test {
 protected:
  static constexpr int64_t kStepTokens = 32;

  void SetUp() override {
    path_ = fs::temp_directory_path() / fmt::format("lem-constrained-test-{}.gguf", ::getpid());
    ASSERT_TRUE(WriteTinyModel(path_).ok());
    LocalServiceOptions options;
    options.models = {{"tiny", path_}};
    options.num_threads = 2;
    options.engine.kv_cache_bytes = 4 << 20;
    options.engine.max_step_tokens = kStepTokens;
    service_ = std::make_unique<LocalService>(std::move(options));
    ASSERT_TRUE(service_->WaitUntilLoaded().ok());
  }
  void TearDown() override {
    service_.reset();
    fs::remove(path_);
  }

  static GenerateRequest Request(const GrammarPiece& piece, uint64_t seed = 1) {
    GenerateRequest request;
    for (int32_t i = 0; i < 20; ++i) request.prompt.push_back((i * 37 + static_cast<int32_t>(seed)) % 256);
    request.max_tokens = 200;
    request.sampling.seed = seed;
    auto grammar = Grammar::Compile(piece);
    EXPECT_TRUE(grammar.ok()) << grammar.status().ToString();
    request.grammar = *std::move(grammar);
    return request;
  }
  std::unique_ptr<Generation> Submit(GenerateRequest request) {
    auto generation = service_->Submit(std::move(request));
    EXPECT_TRUE(generation.ok()) << generation.status().ToString();
    return *std::move(generation);
  }
  Outcome Collect(Generation& generation) {
    Outcome outcome;
    for (;;) {
      Event event = generation.Wait();
      if (const auto* token = std::get_if<TokenEvent>(&event)) outcome.tokens.push_back(token->token);
      if (const auto* finished = std::get_if<FinishedEvent>(&event)) {
        outcome.finished = *finished;
        outcome.text = service_->FindModel("tiny")->tokenizer->Decode(outcome.tokens, SpecialTokens::kParse);
        return outcome;
      }
    }
  }
  Outcome Answer(GenerateRequest request) { return Collect(*Submit(std::move(request))); }
  uint64_t StepsOf(GenerateRequest request, Outcome& outcome) {
    const uint64_t before = service_->Stats().steps_total;
    outcome = Answer(std::move(request));
    return service_->Stats().steps_total - before;
  }

  fs::path path_;
  std::unique_ptr<LocalService> service_;
};

TEST_F(ConstrainedTest, RandomAnswersMatch) {
  const GrammarPiece piece = GrammarPiece::Regex("(yes|no): [0-9]{2,4}(, [a-f]{1,3})*;");
  const std::regex expected("(yes|no): [0-9]{2,4}(, [a-f]{1,3})*;");
  std::vector<std::unique_ptr<Generation>> generations;
  for (uint64_t seed = 1; seed <= 12; ++seed) generations.push_back(Submit(Request(piece, seed)));
  for (const auto& generation : generations) {
    const Outcome outcome = Collect(*generation);
    if (outcome.finished.reason == FinishReason::kLength) continue;
    EXPECT_EQ(outcome.finished.reason, FinishReason::kStop) << outcome.finished.status.ToString();
    EXPECT_TRUE(std::regex_match(outcome.text, expected)) << outcome.text;
  }
}

TEST_F(ConstrainedTest, FreeAnswersBesideAreTheSame) {
  GenerateRequest free = Request(GrammarPiece::Text(), 3);
  free.grammar = nullptr;
  free.max_tokens = 30;
  const std::vector<int32_t> alone = Answer(free).tokens;
  const auto beside = Submit(free);
  const auto constrained = Submit(Request(GrammarPiece::Regex("[ab]{40}"), 4));
  EXPECT_EQ(Collect(*beside).tokens, alone);
  EXPECT_THAT(Collect(*constrained).text, testing::MatchesRegex("[ab]{40}"));
}

TEST_F(ConstrainedTest, ForcedTokensCostNoStep) {
  const std::string fixed(50, 'x');
  const GrammarPiece piece = GrammarPiece::Sequence(
      {GrammarPiece::Regex("[0-9]"), GrammarPiece::Literal(fixed), GrammarPiece::Regex("[0-9]{3}")});
  GenerateRequest request = Request(piece);
  request.sampling.temperature = 0;
  Outcome jumped, stepped;
  const uint64_t jumped_steps = StepsOf(request, jumped);
  request.num_logprobs = 0;  // wants the model's probability of every token
  const uint64_t stepped_steps = StepsOf(request, stepped);
  EXPECT_THAT(jumped.text, testing::HasSubstr(fixed));
  EXPECT_EQ(jumped.tokens.size(), 54u);
  EXPECT_EQ(jumped.text, stepped.text) << "keys and values of forced tokens are as if they had been chosen";
  // The prompt with the first digit; the fixed text, more than one step holds; two digits.
  EXPECT_EQ(jumped_steps, 5u);
  EXPECT_EQ(stepped_steps, 54u);
  EXPECT_EQ(jumped.finished.usage.completion_tokens, 54);
}

TEST_F(ConstrainedTest, LimitsHoldInsideForcedText) {
  GenerateRequest request = Request(GrammarPiece::Literal("abcdefghij"));
  request.max_tokens = 4;
  const Outcome outcome = Answer(std::move(request));
  EXPECT_EQ(outcome.text, "abcd");
  EXPECT_EQ(outcome.finished.reason, FinishReason::kLength);
}

TEST_F(ConstrainedTest, AnAnswerEndsWithItsGrammar) {
  GenerateRequest request = Request(GrammarPiece::JsonSchema(R"({"enum": ["red", "green"]})"));
  request.ignore_end_tokens = true;
  const Outcome outcome = Answer(std::move(request));
  EXPECT_EQ(outcome.finished.reason, FinishReason::kStop);
  EXPECT_THAT(outcome.text, testing::AnyOf("\"red\"", "\"green\""));
}

}  // namespace
}  // namespace lem
