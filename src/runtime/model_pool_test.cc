// Models that come and go under one budget, on small synthetic models.
#include "runtime/model_pool.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "models/testing/tiny_model.h"
#include "runtime/profile/planner.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

class ModelPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = fs::temp_directory_path() / fmt::format("lem-pool-test-{}.gguf", ::getpid());
    ASSERT_TRUE(WriteTinyModel(path_).ok());
    planner_ = std::move(*LivePlanner::Create(*KnownMachine({}, DeviceClock::kWall), {}));
  }
  void TearDown() override { fs::remove(path_); }

  // Models "a", "b", "c" of the same file; `at_start` of them are loaded at once.
  ModelPoolOptions Options(size_t at_start) const {
    ModelPoolOptions options;
    for (const char* id : {"a", "b", "c"}) {
      options.models.push_back({id, path_, options.models.size() < at_start});
    }
    options.engine.kv_cache_bytes = 4 << 20;
    options.engine.max_step_tokens = 32;
    return options;
  }
  static Clock::time_point Soon() { return Clock::now() + std::chrono::seconds(30); }
  static void WaitForState(ModelPool& pool, const std::string& id, ModelState state) {
    for (int i = 0; i < 3000 && pool.Find(id)->state != state; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(pool.Find(id)->state, state) << id;
  }

  fs::path path_;
  ThreadPool threads_{1};
  std::unique_ptr<LivePlanner> planner_;
};

TEST_F(ModelPoolTest, ModelsComeAndGo) {
  ModelPoolOptions options = Options(0);
  options.models.clear();
  std::mutex mutex;
  std::vector<ModelSource> there;
  options.list_models = [&] {
    const std::lock_guard lock(mutex);
    return std::optional(there);
  };
  const auto set = [&](std::vector<ModelSource> models) {
    const std::lock_guard lock(mutex);
    there = std::move(models);
  };
  ModelPool pool(options, *planner_, threads_);
  ASSERT_TRUE(pool.WaitForStart().ok());
  EXPECT_TRUE(pool.AllReady());
  EXPECT_TRUE(pool.Infos().empty());
  EXPECT_EQ(pool.Find("").status().code(), StatusCode::kNotFound);
  set({{"a", path_}, {"b", path_}});
  pool.Refresh();
  EXPECT_EQ(pool.Infos().size(), 2u);
  set({{"a", path_}, {"b", path_}, {"c", path_}});
  ASSERT_TRUE(pool.EnsureLoaded("c", Soon()).ok()) << "found though nobody has listed them again";
  {
    const Result<ModelPool::Lease> lease = pool.Use("c");
    ASSERT_TRUE(lease.ok());
    set({{"b", path_}});
    pool.Refresh();
    EXPECT_EQ(pool.Infos().size(), 1u);
    EXPECT_EQ(pool.Use("c").status().code(), StatusCode::kNotFound);
    EXPECT_EQ(lease->id(), "c") << "who uses it goes on";
  }
  set({{"b", path_}, {"c", path_}});
  ASSERT_TRUE(pool.EnsureLoaded("c", Soon()).ok());
  ASSERT_TRUE(pool.EnsureLoaded("b", Soon()).ok());
  EXPECT_EQ(pool.Infos().size(), 2u);
  EXPECT_EQ(pool.Use("c")->index(), 2) << "it is the one that it was";
}

TEST_F(ModelPoolTest, ModelsAreLoadedWhenTheyAreAskedFor) {
  ModelPool pool(Options(1), *planner_, threads_);
  ASSERT_TRUE(pool.WaitForStart().ok());
  EXPECT_TRUE(pool.AllReady());
  EXPECT_EQ(pool.Find("b")->state, ModelState::kUnloaded);
  EXPECT_EQ(pool.Use("b").status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(pool.EnsureLoaded("d", Soon()).code(), StatusCode::kNotFound);
  // Many who want it cause one load.
  std::atomic<int> num_loaded{0};
  std::vector<std::thread> crowd;
  crowd.reserve(8);
  for (int i = 0; i < 8; ++i) crowd.emplace_back([&] { num_loaded += pool.EnsureLoaded("b", Soon()).ok() ? 1 : 0; });
  for (std::thread& thread : crowd) thread.join();
  EXPECT_EQ(num_loaded, 8);
  const auto lease = pool.Use("b");
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(lease->id(), "b");
  EXPECT_GT(lease->engine().context_length(), 0);
  EXPECT_GT(pool.Find("b")->memory_bytes, uint64_t{4} << 20);
}

TEST_F(ModelPoolTest, AModelInUseStaysAndItsTextStaysForEver) {
  ModelPool pool(Options(1), *planner_, threads_);
  ASSERT_TRUE(pool.WaitForStart().ok());
  const ModelInfo before = *pool.Find("a");
  ASSERT_NE(before.tokenizer, nullptr);
  {
    const ModelPool::Lease lease = std::move(*pool.Use("a"));
    EXPECT_TRUE(pool.Unload("a").ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(pool.Find("a")->state, ModelState::kReady);
    EXPECT_GT(lease.engine().context_length(), 0);
  }
  WaitForState(pool, "a", ModelState::kUnloaded);
  EXPECT_FALSE(before.tokenizer->TokenText(65, SpecialTokens::kAsText).empty()) << "tokenising needs no model";
  ASSERT_TRUE(pool.EnsureLoaded("a", Soon()).ok());
  EXPECT_EQ(pool.Find("a")->tokenizer, before.tokenizer);
}

TEST_F(ModelPoolTest, IdleModelsGo) {
  ModelPool pool(Options(0), *planner_, threads_);
  ASSERT_TRUE(pool.EnsureLoaded("a", Soon()).ok());
  EXPECT_TRUE(pool.Find("a")->expires.has_value());
  EXPECT_TRUE(pool.SetKeepAlive("a", std::chrono::seconds(0)).ok());
  {
    const auto used = pool.Use("a");
  }
  WaitForState(pool, "a", ModelState::kUnloaded);
  EXPECT_EQ(pool.Find("a")->memory_bytes, 0u);
  ASSERT_TRUE(pool.EnsureLoaded("a", Soon()).ok());
  EXPECT_TRUE(pool.SetKeepAlive("a", std::chrono::seconds(-1)).ok());
  {
    const auto used = pool.Use("a");
  }
  EXPECT_FALSE(pool.Find("a")->expires.has_value());
}

TEST_F(ModelPoolTest, IdleModelsMakeRoomAndUsedOnesDoNot) {
  ModelPoolOptions options = Options(0);
  options.memory_bytes = 2 * (fs::file_size(path_) + options.engine.kv_cache_bytes) + 1000;  // two of three
  ModelPool pool(options, *planner_, threads_);
  ASSERT_TRUE(pool.EnsureLoaded("a", Soon()).ok());
  ASSERT_TRUE(pool.EnsureLoaded("b", Soon()).ok());
  {
    const auto a = pool.Use("a");
    ASSERT_TRUE(a.ok());
    ASSERT_TRUE(pool.EnsureLoaded("c", Soon()).ok());
    EXPECT_EQ(pool.Find("a")->state, ModelState::kReady);
    EXPECT_EQ(pool.Find("b")->state, ModelState::kUnloaded);
    const auto c = pool.Use("c");
    const Status refused = pool.EnsureLoaded("b", Soon());
    EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
    EXPECT_NE(refused.message().find("unload one of them"), std::string::npos) << refused.message();
  }
  EXPECT_TRUE(pool.EnsureLoaded("b", Soon()).ok()) << "a failure is tried again when it is asked for";
  uint64_t sum = 0;
  for (const ModelInfo& info : pool.Infos()) sum += info.memory_bytes;
  EXPECT_LE(sum, pool.memory_bytes());
}

TEST_F(ModelPoolTest, AModelThatCannotBeLoadedSaysWhy) {
  ModelPoolOptions options = Options(1);
  options.models[0].path = "/nonexistent.gguf";
  ModelPool pool(options, *planner_, threads_);
  EXPECT_NE(pool.WaitForStart().message().find("model 'a' cannot be loaded"), std::string::npos);
  EXPECT_FALSE(pool.AllReady());
  EXPECT_TRUE(pool.EnsureLoaded("b", Soon()).ok());
  EXPECT_EQ(pool.Use("a").status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace lem
