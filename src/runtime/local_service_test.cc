// The whole path below the server on a small synthetic model: load, submit, step, events, cancel, deadline, drain.
#include "runtime/local_service.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <thread>

#include "models/testing/tiny_model.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  std::vector<int32_t> tokens;
  std::vector<TokenEvent> events;
  std::vector<TokenEvent> prompt;
  FinishedEvent finished;
};

Outcome Collect(Generation& generation) {
  Outcome outcome;
  for (;;) {
    Event event = generation.Wait();
    if (auto* token = std::get_if<TokenEvent>(&event)) {
      outcome.tokens.push_back(token->token);
      outcome.events.push_back(*token);
    } else if (auto* prompt = std::get_if<PromptLogprobsEvent>(&event)) {
      outcome.prompt = prompt->tokens;
    } else if (auto* finished = std::get_if<FinishedEvent>(&event)) {
      outcome.finished = *finished;
      return outcome;
    }
  }
}

class LocalServiceTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    path_ = fs::temp_directory_path() / fmt::format("lem-service-test-{}.gguf", ::getpid());
    ASSERT_TRUE(WriteTinyModel(path_).ok());
  }
  static void TearDownTestSuite() { fs::remove(path_); }

  static LocalServiceOptions Options() {
    LocalServiceOptions options;
    options.models = {{"tiny", path_}};
    options.num_threads = 2;
    options.engine.kv_cache_bytes = 4 << 20;
    options.engine.max_step_tokens = 32;
    return options;
  }
  static GenerateRequest Request(int32_t max_tokens, uint64_t seed = 1) {
    GenerateRequest request;
    for (int32_t i = 0; i < 50; ++i) request.prompt.push_back((i * 37 + static_cast<int32_t>(seed)) % 256);
    request.max_tokens = max_tokens;
    request.sampling.seed = seed;
    request.ignore_end_tokens = true;
    return request;
  }
  static inline fs::path path_;  // NOLINT(readability-identifier-naming): as members of fixtures are called
};

TEST_F(LocalServiceTest, AnswersAndCounts) {
  LocalService service(Options());
  ASSERT_TRUE(service.WaitUntilLoaded().ok());
  EXPECT_TRUE(service.Ready());
  const ModelInfo info = *service.FindModel("tiny");
  EXPECT_EQ(info.context_length, 512);
  EXPECT_EQ(info.architecture, "llama");
  const auto generation = std::move(*service.Submit(Request(20)));
  const Outcome outcome = Collect(*generation);
  EXPECT_EQ(outcome.finished.reason, FinishReason::kLength);
  EXPECT_EQ(outcome.tokens.size(), 20u);
  EXPECT_EQ(outcome.finished.usage.prompt_tokens, 50);
  EXPECT_EQ(outcome.finished.usage.completion_tokens, 20);
  const ServiceStats stats = service.Stats();
  EXPECT_EQ(stats.generated_tokens_total, 20u);
  EXPECT_EQ(stats.kv_blocks_used, 0u);
}

// The same request gives the same tokens alone, in a crowd, and on another number of threads.
TEST_F(LocalServiceTest, SameSeedSameTokensAtAnyLoad) {
  std::vector<std::vector<int32_t>> alone;
  {
    LocalServiceOptions options = Options();
    options.num_threads = 1;
    options.engine.max_step_tokens = 256;
    LocalService service(options);
    ASSERT_TRUE(service.WaitUntilLoaded().ok());
    for (uint64_t seed = 0; seed < 12; ++seed) {
      alone.push_back(Collect(**service.Submit(Request(16, seed))).tokens);
    }
  }
  LocalService service(Options());
  ASSERT_TRUE(service.WaitUntilLoaded().ok());
  std::vector<std::unique_ptr<Generation>> crowd;
  crowd.reserve(12);
  for (uint64_t seed = 0; seed < 12; ++seed) crowd.push_back(std::move(*service.Submit(Request(16, seed))));
  for (size_t i = 0; i < crowd.size(); ++i) EXPECT_EQ(Collect(*crowd[i]).tokens, alone[i]) << i;
  EXPECT_NE(alone[0], alone[1]);
}

TEST_F(LocalServiceTest, LogprobsOfPromptAndAnswerAgree) {
  LocalService service(Options());
  ASSERT_TRUE(service.WaitUntilLoaded().ok());
  GenerateRequest request = Request(5);
  request.sampling.temperature = 0;
  request.num_logprobs = 3;
  const Outcome first = Collect(**service.Submit(request));
  ASSERT_EQ(first.events.size(), 5u);
  for (const TokenEvent& event : first.events) {
    ASSERT_EQ(event.top.size(), 3u);
    EXPECT_EQ(event.top[0].token, event.token);  // greedy
    EXPECT_EQ(event.top[0].logprob, event.logprob);
    EXPECT_GE(event.top[0].logprob, event.top[1].logprob);
  }
  // The answer fed back as a prompt has the same log probabilities: prefill and decode are one numerics class.
  request.prompt.insert(request.prompt.end(), first.tokens.begin(), first.tokens.end());
  request.max_tokens = 0;
  request.prompt_logprobs = true;
  const Outcome second = Collect(**service.Submit(request));
  EXPECT_EQ(second.finished.reason, FinishReason::kLength);
  ASSERT_EQ(second.prompt.size(), 55u);
  EXPECT_TRUE(std::isnan(second.prompt[0].logprob));
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(second.prompt[50 + i].logprob, first.events[i].logprob) << i;
}

TEST_F(LocalServiceTest, EndTokensEndTheAnswer) {
  LocalService service(Options());
  ASSERT_TRUE(service.WaitUntilLoaded().ok());
  GenerateRequest request = Request(20);
  request.ignore_end_tokens = false;
  request.sampling.logit_bias = {{kTinyEos, 100.0f}};
  const Outcome outcome = Collect(**service.Submit(request));
  EXPECT_EQ(outcome.finished.reason, FinishReason::kStop);
  EXPECT_TRUE(outcome.tokens.empty());
}

TEST_F(LocalServiceTest, BadRequestsAreRefusedWithTheNumbers) {
  LocalService service(Options());
  ASSERT_TRUE(service.WaitUntilLoaded().ok());
  const auto refusal = [&](GenerateRequest request) { return service.Submit(std::move(request)).status(); };
  GenerateRequest request = Request(1);
  request.model = "other";
  EXPECT_EQ(refusal(request).code(), StatusCode::kNotFound);
  EXPECT_NE(refusal(request).message().find("tiny"), std::string::npos);
  request = Request(1);
  request.prompt.clear();
  EXPECT_EQ(refusal(request).code(), StatusCode::kInvalidArgument);
  request.prompt = {3, 260};
  EXPECT_NE(refusal(request).message().find("prompt token 1 is id 260; allowed: 0 to 259"), std::string::npos);
  request.prompt = {-1};
  EXPECT_FALSE(refusal(request).ok());
  request = Request(463);
  EXPECT_NE(refusal(request).message().find("at most 512"), std::string::npos);
  request = Request(1);
  request.sampling.temperature = 9;
  EXPECT_NE(refusal(request).message().find("temperature is 9"), std::string::npos);
  EXPECT_EQ(Collect(**service.Submit(Request(1))).tokens.size(), 1u);  // and the next request works
}

TEST_F(LocalServiceTest, CancelFreesTheBlocksAndOthersGoOn) {
  LocalService service(Options());
  ASSERT_TRUE(service.WaitUntilLoaded().ok());
  auto doomed = std::move(*service.Submit(Request(400, 1)));
  const auto other = std::move(*service.Submit(Request(30, 2)));
  while (!std::holds_alternative<TokenEvent>(doomed->Wait())) {
  }
  doomed->Cancel();
  EXPECT_EQ(Collect(*doomed).finished.reason, FinishReason::kCancelled);
  EXPECT_EQ(Collect(*other).tokens.size(), 30u);
  auto dropped = std::move(*service.Submit(Request(400, 3)));
  dropped.reset();  // a client that just goes away
  EXPECT_EQ(Collect(**service.Submit(Request(1))).tokens.size(), 1u);
  service.Drain(Clock::now() + std::chrono::seconds(10));
  EXPECT_EQ(service.Stats().kv_blocks_used, 0u);
  EXPECT_EQ(service.Submit(Request(1)).status().code(), StatusCode::kUnavailable);
}

TEST_F(LocalServiceTest, DeadlinesEndRequests) {
  LocalService service(Options());
  ASSERT_TRUE(service.WaitUntilLoaded().ok());
  GenerateRequest request = Request(400);
  request.deadline = Clock::now();
  EXPECT_EQ(service.Submit(request).status().code(), StatusCode::kDeadlineExceeded);
  // Far more than can be done in the time: who is still there when it has passed is told so, and leaves nothing behind.
  const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(25);
  std::vector<std::unique_ptr<Generation>> crowd;
  int num_late = 0;
  for (int i = 0; i < 200; ++i) {
    request = Request(400);
    request.deadline = deadline;
    auto generation = service.Submit(request);
    if (generation.ok()) {
      crowd.push_back(std::move(*generation));
    } else {
      ++num_late;  // that is known before it begins
    }
  }
  for (const auto& generation : crowd) {
    const Outcome outcome = Collect(*generation);
    if (outcome.finished.reason == FinishReason::kLength) continue;
    ++num_late;
    EXPECT_EQ(outcome.finished.reason, FinishReason::kError);
    EXPECT_EQ(outcome.finished.status.code(), StatusCode::kDeadlineExceeded);
  }
  EXPECT_GT(num_late, 0);
  EXPECT_EQ(service.Stats().kv_blocks_used, 0u);
}

// Under both promises: everybody gets the answer that they would get alone.
TEST_F(LocalServiceTest, MoreRequestsThanMemoryAreAllAnswered) {
  std::vector<std::vector<int32_t>> alone;
  for (const AdmissionPolicy policy : {AdmissionPolicy::kGuarantee, AdmissionPolicy::kMaximise}) {
    LocalServiceOptions options = Options();
    options.engine.context_length = 128;
    options.engine.kv_cache_bytes =
        size_t{9} * 16 * 2 * 2 * 2 * 16 * sizeof(uint16_t);  // nine blocks: one request and a bit
    options.scheduler.policy = policy;
    LocalService service(options);
    ASSERT_TRUE(service.WaitUntilLoaded().ok());
    const auto make = [](uint64_t seed) {
      GenerateRequest request = Request(90, seed);
      request.prompt.resize(20);
      return request;
    };
    for (uint64_t seed = alone.size(); seed < 6; ++seed) {
      alone.push_back(Collect(**service.Submit(make(seed))).tokens);
    }
    std::vector<std::unique_ptr<Generation>> crowd;
    crowd.reserve(6);
    for (uint64_t seed = 0; seed < 6; ++seed) crowd.push_back(std::move(*service.Submit(make(seed))));
    for (size_t i = 0; i < crowd.size(); ++i) EXPECT_EQ(Collect(*crowd[i]).tokens, alone[i]) << i;
    // Whether anybody has to give way depends on how many are there at once, which the test cannot say.
    if (policy == AdmissionPolicy::kGuarantee) EXPECT_EQ(service.Stats().interrupted_total, 0u);
    EXPECT_EQ(service.Stats().kv_blocks_used, 0u);
  }
}

TEST_F(LocalServiceTest, WhatComesTooLateIsRefusedWithTheNumbers) {
  LocalServiceOptions options = Options();
  options.max_waiting = 2;
  options.engine.context_length = 500;
  options.engine.kv_cache_bytes = size_t{32} * 16 * 2 * 2 * 2 * 16 * sizeof(uint16_t);  // one context
  options.scheduler.policy = AdmissionPolicy::kGuarantee;
  LocalService service(options);
  ASSERT_TRUE(service.WaitUntilLoaded().ok());
  GenerateRequest hurried = Request(1);
  hurried.ttft_target_ms = 1e-6;
  const Status hopeless = service.Submit(hurried).status();
  EXPECT_EQ(hopeless.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(hopeless.message().find("first token is expected after"), std::string::npos) << hopeless.message();
  EXPECT_GT(hopeless.retry_after_s(), 0);
  // Whoever runs keeps all blocks; two may wait.
  const auto running = std::move(*service.Submit(Request(450, 1)));
  while (!std::holds_alternative<TokenEvent>(running->Wait())) {
  }
  const auto first = service.Submit(Request(450, 2)), second = service.Submit(Request(450, 3));
  ASSERT_TRUE(first.ok() && second.ok());
  const auto third = service.Submit(Request(450, 4));
  if (third.ok()) GTEST_SKIP() << "the first answer was over already";
  EXPECT_NE(third.status().message().find("2 requests are waiting already, 2 at most may"), std::string::npos);
  EXPECT_GE(third.status().retry_after_s(), 1);
}

// Whatever happens beside it: cancels, other classes, interruptions for want of blocks, guesses, shared prompts.
TEST_F(LocalServiceTest, AStormChangesNoAnswer) {
  const auto request = [](uint64_t seed) {
    GenerateRequest made = Request(static_cast<int32_t>(8 + seed % 40), seed);
    for (size_t i = 0; i < made.prompt.size(); ++i) made.prompt[i] = static_cast<int32_t>(i * 37 + seed % 5) % 256;
    made.prompt.resize(10 + seed * 7 % 40);
    made.sampling.temperature = seed % 3 == 0 ? 0.0f : 0.8f;
    made.priority = static_cast<Priority>(seed % 3);
    made.tenant = std::string(seed % 4, 'x');
    return made;
  };
  constexpr uint64_t kRequests = 200;
  LocalServiceOptions options = Options();
  options.engine.context_length = 128;
  std::vector<std::vector<int32_t>> alone;
  {
    LocalService service(options);
    ASSERT_TRUE(service.WaitUntilLoaded().ok());
    for (uint64_t seed = 0; seed < kRequests; ++seed) alone.push_back(Collect(**service.Submit(request(seed))).tokens);
  }
  for (const bool reuse : {false, true}) {
    options.engine.kv_cache_bytes = size_t{24} * 16 * 2 * 2 * 2 * 16 * sizeof(uint16_t);  // some requests at once
    options.engine.cache_prefixes = reuse;
    options.engine.deterministic = reuse;
    options.engine.speculation = EngineOptions::Speculation::kAlways;
    LocalService service(options);
    ASSERT_TRUE(service.WaitUntilLoaded().ok());
    std::vector<std::unique_ptr<Generation>> crowd;
    for (uint64_t seed = 0; seed < kRequests; ++seed) {
      crowd.push_back(std::move(*service.Submit(request(seed))));
      if (seed % 10 != 0) continue;
      const auto doomed = std::move(*service.Submit(request(1000 + seed)));  // and its client goes at once
    }
    for (size_t i = 0; i < crowd.size(); ++i) {
      const Outcome outcome = Collect(*crowd[i]);
      EXPECT_EQ(outcome.finished.reason, FinishReason::kLength) << outcome.finished.status.ToString();
      EXPECT_EQ(outcome.tokens, alone[i]) << i << (reuse ? " with reuse" : "");
    }
    EXPECT_EQ(service.Stats().kv_blocks_used, 0u);
  }
}

TEST_F(LocalServiceTest, ASharedPromptIsComputedOnce) {
  LocalServiceOptions options = Options();
  options.engine.cache_prefixes = true;
  LocalService service(options);
  ASSERT_TRUE(service.WaitUntilLoaded().ok());
  GenerateRequest request = Request(5);
  request.prompt.resize(50);
  std::vector<std::unique_ptr<Generation>> crowd;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    request.sampling.seed = seed;
    crowd.push_back(std::move(*service.Submit(request)));
  }
  int32_t cached = 0;
  for (const auto& generation : crowd) cached += Collect(*generation).finished.usage.cached_tokens;
  EXPECT_EQ(cached, 3 * 48) << "three of the four wait for the first one's blocks";
}

TEST_F(LocalServiceTest, ModelsThatCannotBeLoadedSaySo) {
  LocalServiceOptions options = Options();
  options.models.push_back({"broken", "/nonexistent.gguf"});
  LocalService service(options);
  const Status status = service.WaitUntilLoaded();
  EXPECT_NE(status.message().find("model 'broken' cannot be loaded"), std::string::npos);
  EXPECT_FALSE(service.Ready());
  GenerateRequest request = Request(1);
  request.model = "broken";
  EXPECT_EQ(service.Submit(request).status().code(), StatusCode::kNotFound);
  request.model = "tiny";
  EXPECT_EQ(Collect(**service.Submit(request)).tokens.size(), 1u);
  options.models = {{"tiny", path_}};
  options.engine.context_length = 1 << 20;
  LocalService too_long(options);
  EXPECT_NE(too_long.WaitUntilLoaded().message().find("context of 1048576 tokens"), std::string::npos);
}

}  // namespace
}  // namespace lem
