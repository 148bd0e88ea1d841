// The engine over devices with a memory of their own and over such that compile slowly: placements by phase, devices
// that are lost or become ready in the middle of answers. The test devices compute as the CPU does, so the answers must
// be the CPU's, token for token.
#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "base/thread_pool.h"
#include "device/cpu/cpu_device.h"
#include "device/testing/shadow_device.h"
#include "device/testing/slow_device.h"
#include "models/testing/tiny_model.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

class Collector : public EventSink {
 public:
  void Emit(Event event) override {
    if (const auto* token = std::get_if<TokenEvent>(&event)) tokens.push_back(token->token);
  }
  std::vector<int32_t> tokens;
};

class EngineTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = fs::temp_directory_path() / fmt::format("lem-engine-test-{}.gguf", ::getpid());
    ASSERT_TRUE(WriteTinyModel(path_, {.num_layers = 4}).ok());
    model_ = std::move(*LoadModel(path_));
    auto cpu = MakeCpuDevice(pool_, BestKernelTable());
    auto shadow = std::make_unique<ShadowDevice>("far", *cpu, *memory_);
    far_ = shadow.get();
    devices_.Add(std::move(cpu));
    devices_.Add(std::move(shadow));
  }
  void TearDown() override { fs::remove(path_); }

  std::unique_ptr<Engine> MakeEngine(std::string_view placement) {
    EngineOptions options;
    options.kv_cache_bytes = 4 << 20;
    options.max_step_tokens = 32;
    options.placement = *ParsePlacement(placement);
    auto engine = Engine::Create(*model_, devices_, *memory_, BestKernelTable(), options);
    EXPECT_TRUE(engine.ok()) << engine.status().ToString();
    return std::move(*engine);
  }

  // Three sequences of which each starts when the one before is some tokens into its answer, so that prompts and
  // answers share steps. Returns the answers. placements: of each; missing ones run as the engine is placed.
  std::vector<std::vector<int32_t>> Answers(Engine& engine, const std::vector<std::string>& placements = {}) {
    constexpr int kSequences = 3, kAnswer = 12;
    std::map<SequenceId, std::shared_ptr<Collector>> sinks;
    std::map<SequenceId, int64_t> prompt_left;
    size_t num_finished = 0;
    for (int step = 0; num_finished < kSequences && step < 200; ++step) {
      if (step % 4 == 0 && sinks.size() < kSequences) {
        const SequenceId id = sinks.size() + 1;
        GenerateRequest request;
        for (int32_t i = 0; i < 20 * static_cast<int32_t>(id); ++i) request.prompt.push_back((i * 37 + 5) % 256);
        request.max_tokens = kAnswer;
        request.sampling.temperature = 0;
        request.ignore_end_tokens = true;
        prompt_left[id] = static_cast<int64_t>(request.prompt.size());
        sinks[id] = std::make_shared<Collector>();
        const std::string placement = id <= placements.size() ? placements[id - 1] : "";
        engine.Add(id, std::make_shared<const GenerateRequest>(std::move(request)), sinks[id], placement);
      }
      std::vector<EngineRows> rows;
      int64_t room = 32;
      for (auto& [id, left] : prompt_left) {
        const int64_t count = left > 0 ? std::min(left, std::min<int64_t>(room, 11)) : 1;
        rows.push_back({id, count});
        left -= count;
        room -= count;
      }
      const Engine::StepOutcome outcome = engine.Step(rows);
      EXPECT_TRUE(outcome.error.ok()) << outcome.error.ToString();
      for (const Engine::BatchRun& run : outcome.runs) CheckRun(run);
      for (const Engine::FinishedSequence& finished : outcome.finished) {
        EXPECT_EQ(finished.usage.completion_tokens, kAnswer);
        prompt_left.erase(finished.id);
        ++num_finished;
      }
    }
    EXPECT_EQ(num_finished, size_t{kSequences});
    EXPECT_EQ(engine.kv_pool().num_used(), 0);
    std::vector<std::vector<int32_t>> answers;
    answers.reserve(sinks.size());
    for (const auto& [id, sink] : sinks) answers.push_back(sink->tokens);
    return answers;
  }

  static void CheckRun(const Engine::BatchRun& run) {
    EXPECT_EQ(run.timings.size(), run.route->placed().plan(run.phase).steps.size());
    EXPECT_TRUE(run.has_prompts || run.has_answers);
    EXPECT_GT(run.mean_context, 0);
    for (const StepTiming& timing : run.timings) EXPECT_LE(timing.begin, timing.end);
  }
  // Returns the placements as routes are named.
  static std::vector<std::string> OpenRoutes(Engine& engine, std::vector<std::string> placements) {
    for (std::string& placement : placements) placement = FormatPlacement(*ParsePlacement(placement));
    for (const std::string& placement : placements) engine.routes().Prepare(*ParsePlacement(placement));
    for (const std::string& placement : placements) {
      engine.routes().Wait(placement);
      EXPECT_NE(engine.routes().Find(placement), nullptr) << placement;
    }
    return placements;
  }

  fs::path path_;
  std::unique_ptr<MemoryManager> memory_ = std::move(*MemoryManager::Create());
  ThreadPool pool_{2};
  DeviceRegistry devices_;
  ShadowDevice* far_ = nullptr;
  std::unique_ptr<Model> model_;
};

constexpr const char* kPlacements[] = {
    "all far",           "prefill far; decode cpu", "prefill cpu; decode far", "layers 1-2 far; rest cpu",
    "ffn far; rest cpu", "rows 0.5 far; rest cpu",
};

TEST_F(EngineTest, EveryPlacementGivesTheSameAnswers) {
  const auto expected = Answers(*MakeEngine("all cpu"));
  for (const char* placement : kPlacements) {
    EXPECT_EQ(Answers(*MakeEngine(placement)), expected) << placement;
  }
}

TEST_F(EngineTest, SequencesOnDifferentWaysShareSteps) {
  const auto expected = Answers(*MakeEngine("all cpu"));
  const auto engine = MakeEngine("all cpu");
  const std::vector<std::string> ways =
      OpenRoutes(*engine, {"all far", "layers 1-2 far; rest cpu", "prefill far; decode cpu"});
  const uint64_t moved = memory_->ledger().AccountOf("far").bytes(TransferCause::kWeights);
  OpenRoutes(*engine, {"ffn far; rest cpu"});
  EXPECT_EQ(memory_->ledger().AccountOf("far").bytes(TransferCause::kWeights), moved) << "the device has them already";
  for (size_t first = 0; first < ways.size(); ++first) {
    EXPECT_EQ(Answers(*engine, {ways[first], ways[(first + 1) % 3], "all cpu"}), expected);
  }
  EXPECT_GT(far_->telemetry().submissions, 0u);
  EXPECT_EQ(Answers(*engine, {"all nowhere", "all far", ""}), expected)
      << "what is not open runs as the engine is placed";
}

// Twice the same three requests: the second time their prompts are known, and the answers are the same.
TEST_F(EngineTest, KnownPromptsAreNotComputedAgain) {
  const auto expected = Answers(*MakeEngine("all cpu"));
  for (const char* placement : kPlacements) {
    EngineOptions options;
    options.kv_cache_bytes = 4 << 20;
    options.max_step_tokens = 32;
    options.placement = *ParsePlacement(placement);
    options.cache_prefixes = true;
    const auto engine = std::move(*Engine::Create(*model_, devices_, *memory_, BestKernelTable(), options));
    const std::string way = engine->routes().List().front().placement;
    GenerateRequest request;
    for (int32_t i = 0; i < 60; ++i) request.prompt.push_back((i * 37 + 5) % 256);
    request.max_tokens = 12;
    request.sampling.temperature = 0;
    request.ignore_end_tokens = true;
    SequenceId id = 0;
    const auto answer = [&](GenerateRequest asked) {
      const auto sink = std::make_shared<Collector>();
      const auto prompt_size = static_cast<int64_t>(asked.prompt.size());
      int64_t computed = engine->Add(++id, std::make_shared<const GenerateRequest>(std::move(asked)), sink, way);
      const int64_t cached = computed;
      int32_t reported = -1;
      for (int step = 0; step < 40 && reported < 0; ++step) {
        const int64_t count = computed < prompt_size ? std::min<int64_t>(32, prompt_size - computed) : 1;
        const Engine::StepOutcome outcome = engine->Step({{id, count}});
        EXPECT_TRUE(outcome.error.ok());
        computed += count;
        if (!outcome.finished.empty()) reported = outcome.finished[0].usage.cached_tokens;
      }
      EXPECT_EQ(reported, cached);
      return std::pair(cached, sink->tokens);
    };
    EXPECT_EQ(answer(request), std::pair(int64_t{0}, expected[2])) << placement;
    EXPECT_EQ(engine->kv_pool().num_used(), engine->kv_pool().num_idle());
    EXPECT_EQ(answer(request), std::pair(int64_t{48}, expected[2])) << placement << ": all full blocks but the last";
    // The next turn of a conversation: prompt and answer are known but for the last token.
    GenerateRequest next = request;
    next.prompt.insert(next.prompt.end(), expected[2].begin(), expected[2].end());
    next.prompt.resize(90, 9);
    EXPECT_EQ(answer(next).first, 64) << placement;
    // Logprobs of a prompt need all of it; another tenant shares nothing.
    GenerateRequest other = request;
    other.cache_salt = "other";
    EXPECT_EQ(answer(other), std::pair(int64_t{0}, expected[2])) << placement;
  }
}

TEST_F(EngineTest, AWayThatCannotBeOpenedSaysWhy) {
  const auto engine = MakeEngine("all cpu");
  engine->routes().Prepare(*ParsePlacement("layers 7-9 far; rest cpu"));
  const std::string name = FormatPlacement(*ParsePlacement("layers 7-9 far; rest cpu"));
  engine->routes().Wait(name);
  const std::optional<RouteInfo> info = engine->routes().Info(name);
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->state, RouteState::kFailed);
  EXPECT_THAT(info->error.message(), testing::HasSubstr("layer 9"));
}

TEST_F(EngineTest, RunningAnswersMoveToAnotherWay) {
  const auto expected = Answers(*MakeEngine("all cpu"));
  const auto engine = MakeEngine("all cpu");
  OpenRoutes(*engine, {"all far"});
  GenerateRequest request;
  for (int32_t i = 0; i < 20; ++i) request.prompt.push_back((i * 37 + 5) % 256);
  request.max_tokens = 12;
  request.sampling.temperature = 0;
  request.ignore_end_tokens = true;
  const auto sink = std::make_shared<Collector>();
  engine->Add(1, std::make_shared<const GenerateRequest>(std::move(request)), sink);
  EXPECT_FALSE(engine->MoveTo(1, "all nowhere"));
  for (int step = 0; step < 12; ++step) {
    // There and back, in the middle of the prompt and of the answer.
    EXPECT_TRUE(engine->MoveTo(1, step % 2 == 0 ? "all far" : "all cpu"));
    EXPECT_EQ(engine->PlacementOf(1), step % 2 == 0 ? "all far" : "all cpu");
    EXPECT_TRUE(engine->Step({{1, step == 0 ? 20 : 1}}).error.ok());
  }
  EXPECT_EQ(sink->tokens, expected[0]);
}

TEST_F(EngineTest, ALostDeviceLosesNoSequenceOfAnyWay) {
  const auto expected = Answers(*MakeEngine("all cpu"));
  for (const int64_t after : {0, 2, 5, 9}) {
    auto fresh = std::make_unique<ShadowDevice>("far", *devices_.devices()[0], *memory_);
    auto other = std::make_unique<ShadowDevice>("further", *devices_.devices()[0], *memory_);
    ShadowDevice* device = fresh.get();
    DeviceRegistry devices;
    devices.Add(MakeCpuDevice(pool_, BestKernelTable()));
    devices.Add(std::move(fresh));
    devices.Add(std::move(other));
    EngineOptions options;
    options.kv_cache_bytes = 4 << 20;
    options.max_step_tokens = 32;
    const auto engine = std::move(*Engine::Create(*model_, devices, *memory_, BestKernelTable(), options));
    const std::vector<std::string> ways =
        OpenRoutes(*engine, {"all far", "prefill far; decode further", "all further"});
    device->LoseAfter(after);
    EXPECT_EQ(Answers(*engine, ways), expected) << "lost after " << after;
    EXPECT_FALSE(device->health().ok());
    EXPECT_EQ(engine->routes().Find("all far"), nullptr);
    EXPECT_NE(engine->routes().Find("all further"), nullptr);
  }
}

// The device goes at every moment of the run in turn: no sequence fails, no token differs.
TEST_F(EngineTest, ALostDeviceLosesNoSequence) {
  const auto expected = Answers(*MakeEngine("all cpu"));
  for (const char* placement : kPlacements) {
    for (const int64_t after : {0, 1, 3, 6}) {
      auto fresh = std::make_unique<ShadowDevice>("far", *devices_.devices()[0], *memory_);
      ShadowDevice* device = fresh.get();
      DeviceRegistry devices;
      devices.Add(MakeCpuDevice(pool_, BestKernelTable()));
      devices.Add(std::move(fresh));
      EngineOptions options;
      options.kv_cache_bytes = 4 << 20;
      options.max_step_tokens = 32;
      options.placement = *ParsePlacement(placement);
      const auto engine = std::move(*Engine::Create(*model_, devices, *memory_, BestKernelTable(), options));
      device->LoseAfter(after);
      EXPECT_EQ(Answers(*engine), expected) << placement << ", lost after " << after;
      EXPECT_FALSE(device->health().ok());
      EXPECT_THAT(engine->placed().placement().DeviceIds(), testing::Not(testing::Contains("far")));
    }
  }
}

TEST_F(EngineTest, WithoutItsDeviceAnEngineIsNotMade) {
  far_->LoseAfter(0);
  ThreadPool pool(1);
  EngineOptions options;
  options.placement = *ParsePlacement("all far");
  // Lost before the first submission is only seen then; lost for good is seen at once.
  const auto engine = MakeEngine("all far");
  Answers(*engine);
  EXPECT_EQ(Engine::Create(*model_, devices_, *memory_, BestKernelTable(), options).status().code(),
            StatusCode::kUnavailable);
}

// --- devices that compile slowly ---

class SlowCompileTest : public EngineTest {
 protected:
  static constexpr int32_t kAnswer = 8;

  void Open(const std::string& numerics, std::string_view placement, EngineOptions options = {}) {
    auto slow = std::make_unique<SlowDevice>("slow", *devices_.devices()[0], numerics);
    slow_ = slow.get();
    devices_.Add(std::move(slow));
    options.kv_cache_bytes = 4 << 20;
    options.max_step_tokens = 32;
    options.placement = *ParsePlacement(placement);
    if (options.wait_for_devices || options.deterministic) slow_->Finish();
    auto engine = Engine::Create(*model_, devices_, *memory_, BestKernelTable(), options);
    ASSERT_TRUE(engine.ok()) << engine.status().ToString();
    engine_ = std::move(*engine);
  }
  void TearDown() override {
    if (slow_ != nullptr) slow_->Finish();  // an engine that ends waits for what it began
    engine_.reset();
    EngineTest::TearDown();
  }

  std::shared_ptr<Collector> Add(SequenceId id) {
    GenerateRequest request;
    for (int32_t i = 0; i < 20; ++i) request.prompt.push_back((i * 37 + 5) % 256);
    request.max_tokens = kAnswer;
    request.sampling.temperature = 0;
    request.ignore_end_tokens = true;
    auto sink = std::make_shared<Collector>();
    engine_->Add(id, std::make_shared<const GenerateRequest>(std::move(request)), sink);
    prompt_left_[id] = 20;
    return sink;
  }
  void Steps(int count) {
    for (int i = 0; i < count; ++i) {
      std::vector<EngineRows> rows;
      rows.reserve(prompt_left_.size());
      for (auto& [id, left] : prompt_left_) rows.push_back({id, std::exchange(left, 0) > 0 ? 20 : 1});
      const Engine::StepOutcome outcome = engine_->Step(rows);
      EXPECT_TRUE(outcome.error.ok()) << outcome.error.ToString();
      for (const Engine::FinishedSequence& finished : outcome.finished) {
        usage_[finished.id] = finished.usage;
        prompt_left_.erase(finished.id);
      }
    }
  }
  uint64_t submissions() const { return slow_->telemetry().submissions; }

  SlowDevice* slow_ = nullptr;
  std::unique_ptr<Engine> engine_;
  std::map<SequenceId, int64_t> prompt_left_;
  std::map<SequenceId, Usage> usage_;
};

TEST_F(SlowCompileTest, NewRequestsGoToTheDeviceWhenItIsReady) {
  Open("other", "all slow");
  EXPECT_TRUE(engine_->compiling());
  const auto before = Add(1);
  Steps(3);
  slow_->Finish();
  engine_->WaitForDevices();
  EXPECT_FALSE(engine_->compiling());
  Steps(1);
  EXPECT_EQ(submissions(), 0u) << "a running answer keeps its numerics";
  const auto after = Add(2);
  Steps(kAnswer);
  EXPECT_EQ(submissions(), uint64_t{kAnswer}) << "one step each: the two sequences are on different devices";
  ASSERT_EQ(usage_.size(), 2u);
  EXPECT_EQ(usage_[1].handovers + usage_[2].handovers, 0);
  EXPECT_EQ(before->tokens, after->tokens);
  EXPECT_THAT(engine_->placed().placement().DeviceIds(), testing::Contains("slow"));
}

TEST_F(SlowCompileTest, RunningAnswersMoveBetweenEqualNumerics) {
  Open("", "all slow");
  const auto sink = Add(1);
  Steps(3);
  slow_->Finish();
  engine_->WaitForDevices();
  Steps(kAnswer - 3);
  EXPECT_EQ(submissions(), uint64_t{kAnswer - 3});
  EXPECT_EQ(usage_.at(1).handovers, 0);
  const auto again = Add(2);
  Steps(kAnswer);
  EXPECT_EQ(again->tokens, sink->tokens);
}

TEST_F(SlowCompileTest, RunningAnswersMoveWhereTheUserAskedForIt) {
  Open("other", "decode slow; rest cpu; handover");
  Add(1);
  Steps(3);
  slow_->Finish();
  engine_->WaitForDevices();
  const auto second = Add(2);
  Steps(kAnswer);
  EXPECT_EQ(usage_.at(1).handovers, 1);
  EXPECT_EQ(usage_.at(2).handovers, 0);
  EXPECT_EQ(submissions(), uint64_t{kAnswer}) << "both sequences share the steps of the device";
  EXPECT_EQ(second->tokens.size(), size_t{kAnswer});
}

TEST_F(SlowCompileTest, WhatCannotBeCompiledStaysOnTheCpu) {
  Open("other", "all slow");
  slow_->Finish(Unimplemented("op 7 does not fit"));
  engine_->WaitForDevices();
  EXPECT_THAT(engine_->placement_status().message(), testing::HasSubstr("op 7"));
  Add(1);
  Steps(kAnswer);
  EXPECT_EQ(usage_.at(1).completion_tokens, kAnswer);
  EXPECT_EQ(submissions(), 0u);
}

TEST_F(SlowCompileTest, ALostDeviceTakesOnlyItsOwnSequences) {
  Open("other", "all slow");
  const auto on_cpu = Add(1);
  Steps(2);
  slow_->Finish();
  engine_->WaitForDevices();
  const auto on_device = Add(2);
  Steps(2);
  slow_->Lose();
  Steps(kAnswer);
  EXPECT_EQ(on_cpu->tokens.size(), size_t{kAnswer});
  EXPECT_EQ(on_device->tokens, on_cpu->tokens);
}

TEST_F(SlowCompileTest, AnEngineThatEndsEarlyIsQuiet) {
  Open("other", "all slow");
  Add(1);
  Steps(2);
}

TEST_F(SlowCompileTest, WaitingEnginesUseTheDeviceFromTheStart) {
  Open("other", "all slow", {.wait_for_devices = true});
  EXPECT_FALSE(engine_->compiling());
  Add(1);
  Steps(kAnswer);
  EXPECT_EQ(submissions(), uint64_t{kAnswer});
}

TEST_F(SlowCompileTest, DeterministicPlacementsHaveOneNumerics) {
  Open("other", "all slow", {.deterministic = true});
  EXPECT_FALSE(engine_->compiling());
  EngineOptions options{.deterministic = true};
  const auto create = [&](std::string_view placement) {
    options.placement = *ParsePlacement(placement);
    return Engine::Create(*model_, devices_, *memory_, BestKernelTable(), options).status();
  };
  EXPECT_THAT(create("all slow; handover").message(), testing::HasSubstr("handover"));
  const Status status = create("prefill slow; decode cpu");
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), testing::AllOf(testing::HasSubstr("other"), testing::HasSubstr("i16")));
  EXPECT_TRUE(create("ffn slow; rest cpu").ok());
  slow_->MakeBitsDependOnStep();
  EXPECT_THAT(create("ffn slow; rest cpu").message(), testing::HasSubstr("slow computes in graphs of different"));
}

// Runs the requests side by side, each from its prompt in pieces to its end; now and then one is interrupted.
struct RunOutcome {
  std::map<SequenceId, std::vector<int32_t>> answers;
  std::map<SequenceId, Usage> usages;
};
RunOutcome RunInterrupted(Engine& engine, const std::vector<GenerateRequest>& requests, unsigned interrupt_every) {
  struct State {
    std::shared_ptr<Collector> sink = std::make_shared<Collector>();
    int64_t left = 0;  // tokens to be computed before it goes on by one each
    bool interrupted = false;
  };
  std::map<SequenceId, State> running;
  RunOutcome out;
  for (const GenerateRequest& request : requests) {
    const SequenceId id = running.size() + 1;
    State& state = running[id];
    state.left = static_cast<int64_t>(request.prompt.size());
    state.left -= engine.Add(id, std::make_shared<const GenerateRequest>(request), state.sink);
  }
  for (unsigned step = 1; !running.empty() && step < 2000; ++step) {
    if (interrupt_every != 0 && step % interrupt_every == 0) {
      auto it = running.begin();
      std::advance(it, step / interrupt_every % running.size());
      if (it->second.interrupted) {
        it->second.left -= engine.Resume(it->first);
      } else {
        it->second.left = engine.Interrupt(it->first);
      }
      it->second.interrupted = !it->second.interrupted;
    }
    std::vector<EngineRows> rows;
    for (auto& [id, state] : running) {
      if (!state.interrupted) rows.push_back({id, std::clamp<int64_t>(state.left, 1, 5)});
    }
    if (rows.empty()) continue;
    Engine::StepOutcome outcome = engine.Step(rows);
    EXPECT_TRUE(outcome.error.ok()) << outcome.error.ToString();
    EXPECT_EQ(outcome.progress.size(), rows.size());
    for (const EngineRows& row : outcome.progress) {
      State& state = running.at(row.id);
      state.left = std::max<int64_t>(0, state.left - row.num_tokens);
    }
    for (const Engine::FinishedSequence& finished : outcome.finished) {
      out.answers[finished.id] = running.at(finished.id).sink->tokens;
      out.usages[finished.id] = finished.usage;
      running.erase(finished.id);
    }
  }
  EXPECT_TRUE(running.empty());
  return out;
}

// Prompts that repeat themselves, answered greedily and with chance.
std::vector<GenerateRequest> RepetitiveRequests() {
  std::vector<GenerateRequest> requests;
  for (int32_t k = 0; k < 4; ++k) {
    GenerateRequest request;
    for (int32_t i = 0; i < 40 + 7 * k; ++i) request.prompt.push_back((i % (5 + k)) * 11 + 3);
    request.max_tokens = 70;
    request.ignore_end_tokens = true;
    request.sampling.temperature = k % 2 == 0 ? 0.0f : 0.3f;
    request.sampling.seed = 42 + k;
    requests.push_back(std::move(request));
  }
  return requests;
}

TEST_F(EngineTest, NeitherGuessesNorInterruptionsChangeAnswers) {
  const std::vector<GenerateRequest> requests = RepetitiveRequests();
  EngineOptions options;
  options.kv_cache_bytes = 4 << 20;
  options.max_step_tokens = 32;
  options.placement = *ParsePlacement("all cpu");
  std::optional<RunOutcome> expected;
  int64_t num_guessed = 0;
  using Speculation = EngineOptions::Speculation;
  for (const Speculation speculation : {Speculation::kOff, Speculation::kAlways, Speculation::kWherePaying}) {
    for (const bool cache : {false, true}) {
      for (const unsigned interrupt_every : {0u, 30u}) {
        options.speculation = speculation;
        options.cache_prefixes = cache;
        auto engine = Engine::Create(*model_, devices_, *memory_, BestKernelTable(), options);
        ASSERT_TRUE(engine.ok());
        RunOutcome outcome = RunInterrupted(**engine, requests, interrupt_every);
        EXPECT_EQ((*engine)->kv_pool().num_used() - (*engine)->kv_pool().num_idle(), 0);
        if (!expected) expected = outcome;
        EXPECT_EQ(outcome.answers, expected->answers) << "guesses " << static_cast<int>(speculation) << ", cache "
                                                      << cache << ", interrupted " << interrupt_every;
        for (const auto& [id, usage] : outcome.usages) {
          EXPECT_EQ(usage.completion_tokens, 70);
          if (speculation == Speculation::kAlways) num_guessed += usage.guessed_tokens;
          if (speculation == Speculation::kOff) EXPECT_EQ(usage.guessed_tokens, 0);
        }
      }
    }
  }
  EXPECT_GT(num_guessed, 0) << "the test should meet guesses that come true";
}

class EmbeddingCollector : public EventSink {
 public:
  void Emit(Event event) override {
    if (auto* embedding = std::get_if<EmbeddingEvent>(&event)) values = std::move(embedding->values);
  }
  std::vector<float> values;
};

// Chunks and batch mates do not change an embedding, and different poolings are what they say.
TEST_F(EngineTest, EmbeddingsArePooledHiddenStates) {
  const auto engine = MakeEngine("all cpu");
  const auto embed = [&](Pooling pooling, int64_t chunk, size_t length) {
    GenerateRequest request;
    for (size_t i = 0; i < length; ++i) request.prompt.push_back(static_cast<int32_t>(i * 31 % 256));
    request.pooling = pooling;
    const auto sink = std::make_shared<EmbeddingCollector>();
    const auto text = std::make_shared<Collector>();
    engine->Add(1, std::make_shared<const GenerateRequest>(request), sink);
    GenerateRequest other = request;
    other.pooling = Pooling::kNone;
    other.max_tokens = 100;
    other.ignore_end_tokens = true;
    engine->Add(2, std::make_shared<const GenerateRequest>(other), text);
    for (size_t done = 0; done < length; done += static_cast<size_t>(chunk)) {
      const int64_t count = std::min(chunk, static_cast<int64_t>(length - done));
      const Engine::StepOutcome outcome =
          engine->Step({{1, count}, {2, done == 0 ? std::min<int64_t>(3, static_cast<int64_t>(length)) : 1}});
      EXPECT_TRUE(outcome.error.ok());
      EXPECT_EQ(outcome.finished.size(), done + static_cast<size_t>(count) == length ? 1u : 0u);
    }
    engine->Remove(2);
    return sink->values;
  };
  const std::vector<float> mean = embed(Pooling::kMean, 20, 20);
  EXPECT_EQ(mean.size(), static_cast<size_t>(model_->config.hidden_size));
  EXPECT_EQ(embed(Pooling::kMean, 7, 20), mean);
  EXPECT_EQ(embed(Pooling::kMean, 1, 20), mean);
  EXPECT_EQ(embed(Pooling::kLast, 7, 20), embed(Pooling::kLast, 20, 20));
  // Of one token all poolings are the same, and the first of many is that of one.
  EXPECT_EQ(embed(Pooling::kFirst, 1, 1), embed(Pooling::kMean, 1, 1));
  EXPECT_EQ(embed(Pooling::kFirst, 7, 20), embed(Pooling::kLast, 1, 1));
  // The mean is the mean of the last ones of all beginnings.
  std::vector<double> sum(mean.size());
  for (size_t length = 1; length <= 20; ++length) {
    const std::vector<float> last = embed(Pooling::kLast, 20, length);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(last[i]);
  }
  for (size_t i = 0; i < sum.size(); ++i) EXPECT_NEAR(mean[i], sum[i] / 20, 1e-6);
  EXPECT_EQ(engine->kv_pool().num_used(), 0);
}

}  // namespace
}  // namespace lem
