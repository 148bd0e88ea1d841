// The engine over devices with a memory of their own: placements by phase, and devices that are lost in the middle of
// answers. The test devices compute as the CPU does, so the answers must be the CPU's, token for token.
#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "base/thread_pool.h"
#include "device/cpu/cpu_device.h"
#include "device/testing/shadow_device.h"
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
  // answers share steps. Returns the answers.
  std::vector<std::vector<int32_t>> Answers(Engine& engine) {
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
        engine.Add(id, std::make_shared<const GenerateRequest>(std::move(request)), sinks[id]);
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

}  // namespace
}  // namespace lem
