#include "runtime/store/index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "base/file.h"
#include "base/log.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

StoredModel Model(std::string name) {
  StoredModel model;
  model.file = name + ".gguf";
  model.name = std::move(name);
  model.size_bytes = uint64_t{5} << 32;
  model.mtime_ns = 1'700'000'000'123'456'789;
  model.sha256 = std::string(64, 'a');
  model.source = "pypi 'quoted\"";
  model.pulled_at_unix_s = 1'700'000'000;
  return model;
}

class IndexTest : public testing::Test {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kError);  // a line for each index that is made anew would hide the test's own
    dir_ = fs::temp_directory_path() / fmt::format("lem-index-test-{}", ::getpid());
    fs::remove_all(dir_);
    fs::create_directories(dir_);
    path_ = dir_ / "index.sqlite";
  }
  void TearDown() override {
    SetLogLevel(LogLevel::kInfo);
    fs::remove_all(dir_);
  }

  Result<ModelIndex> Open() {
    return ModelIndex::Open(path_, [this]() -> Result<std::vector<StoredModel>> {
      ++num_scans_;
      return std::vector<StoredModel>{Model("scanned")};
    });
  }

  fs::path dir_, path_;
  std::atomic<int> num_scans_{0};
};

TEST_F(IndexTest, KeepsWhatIsPut) {
  {
    Result<ModelIndex> index = Open();
    ASSERT_TRUE(index.ok()) << index.status().ToString();
    ASSERT_TRUE(index->Put(Model("a")).ok());
    StoredModel changed = Model("a");
    changed.mtime_ns = 5;
    ASSERT_TRUE(index->Put(changed).ok());
    ASSERT_TRUE(index->Remove("scanned").ok());
    ASSERT_TRUE(index->Remove("never there").ok());
  }
  Result<ModelIndex> index = Open();
  ASSERT_TRUE(index.ok());
  EXPECT_EQ(num_scans_, 1);
  const auto list = index->List();
  ASSERT_EQ(list->size(), 1u);
  EXPECT_EQ(list->front().mtime_ns, 5);
  EXPECT_EQ(list->front().size_bytes, uint64_t{5} << 32);
  EXPECT_EQ(list->front().source, "pypi 'quoted\"");
  EXPECT_TRUE((*index->Find("a")).has_value());
  EXPECT_FALSE((*index->Find("A")).has_value());
  EXPECT_FALSE((*index->Find("scanned")).has_value());
}

TEST_F(IndexTest, IsMadeAnewWhenDamaged) {
  {
    Result<ModelIndex> index = Open();
    for (int i = 0; i < 200; ++i) ASSERT_TRUE(index->Put(Model(fmt::format("m{}", i))).ok());
  }
  const std::string good = *ReadFile(path_);
  ASSERT_GT(good.size(), 8192u);
  int num_rebuilt = 0;
  // Cut anywhere, or overwritten anywhere: either the content is as it was, or it is made anew. Never an error.
  for (size_t at = 0; at < good.size(); at += 1021) {
    for (const bool cut : {true, false}) {
      std::string bad = good.substr(0, cut ? at : good.size());
      if (!cut) std::fill_n(bad.begin() + static_cast<ptrdiff_t>(at), std::min<size_t>(300, bad.size() - at), '\xa5');
      fs::remove(path_.string() + "-wal");
      fs::remove(path_.string() + "-shm");
      ASSERT_TRUE(WriteFileAtomic(path_, bad).ok());
      num_scans_ = 0;
      Result<ModelIndex> index = Open();
      ASSERT_TRUE(index.ok()) << index.status().ToString() << " at " << at << (cut ? " cut" : " overwritten");
      const auto list = index->List();
      ASSERT_TRUE(list.ok());
      EXPECT_EQ(list->size(), num_scans_ > 0 ? 1u : 201u) << at;
      num_rebuilt += num_scans_;
    }
  }
  EXPECT_GT(num_rebuilt, 10);
  EXPECT_TRUE(fs::exists(path_.string() + ".broken"));
}

TEST_F(IndexTest, RefusesANewerFormat) {
  {
    ASSERT_TRUE(Open().ok());
    Result<SqliteDatabase> database = SqliteDatabase::Open(path_);
    ASSERT_TRUE(database->Execute("PRAGMA user_version = 2").ok());
  }
  const Status status = Open().status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), testing::HasSubstr("format 2; this one reads 1"));
}

TEST_F(IndexTest, IsMadeOnceByManyAtATime) {
  std::vector<std::thread> threads;
  std::atomic<int> num_ok{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      Result<ModelIndex> index = Open();
      if (index.ok() && index->Put(Model(fmt::format("m{}", i))).ok()) ++num_ok;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_ok, 8);
  EXPECT_EQ(num_scans_, 1);
  EXPECT_EQ(Open()->List()->size(), 9u);
}

}  // namespace
}  // namespace lem
