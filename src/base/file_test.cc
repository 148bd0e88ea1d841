#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "base/cpu_info.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / fmt::format("lem-file-test-{}", ::getpid());
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }
  fs::path dir_;
};

TEST_F(FileTest, WritesWholeFilesAndReadsThemBack) {
  const fs::path path = dir_ / "a.txt";
  ASSERT_TRUE(WriteFileAtomic(path, "first").ok());
  ASSERT_TRUE(WriteFileAtomic(path, "second").ok());
  EXPECT_EQ(*ReadFile(path), "second");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), 1);
  EXPECT_EQ(ReadFile(path, 3).status().code(), StatusCode::kResourceExhausted);
}

TEST_F(FileTest, AFailureLeavesTheOldFileAndNothingElse) {
  const fs::path path = dir_ / "a.txt";
  ASSERT_TRUE(WriteFileAtomic(path, "old").ok());
  const auto fail = [](OutputFile& file) -> Status {
    LEM_TRY(file.Write("half of the n"));
    return Cancelled("on the way");
  };
  EXPECT_EQ(ReplaceFile(path, fail).code(), StatusCode::kCancelled);
  EXPECT_EQ(*ReadFile(path), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), 1);
  EXPECT_EQ(ReplaceFile(dir_ / "none" / "a.txt", fail).code(), StatusCode::kNotFound);
  const auto own = [](OutputFile& file) { return file.RestrictToOwner(); };
  ASSERT_TRUE(ReplaceFile(path, own).ok());
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(FileTest, PruningTakesTheOldestFirst) {
  const auto now = fs::file_time_type::clock::now();
  for (int age = 0; age < 4; ++age) {
    const fs::path path = dir_ / std::to_string(age);
    ASSERT_TRUE(WriteFileAtomic(path, "12345").ok());
    fs::last_write_time(path, now - std::chrono::hours(age));
  }
  PruneFolder(dir_, 20);
  EXPECT_TRUE(fs::exists(dir_ / "3"));
  PruneFolder(dir_, 12);
  EXPECT_TRUE(fs::exists(dir_ / "0") && fs::exists(dir_ / "1"));
  EXPECT_FALSE(fs::exists(dir_ / "2") || fs::exists(dir_ / "3"));
  PruneFolder(dir_ / "none", 0);
}

TEST_F(FileTest, WritesInPieces) {
  const fs::path path = dir_ / "pieces";
  {
    Result<OutputFile> file = OutputFile::Open(path, OutputFile::Mode::kAppend);
    ASSERT_TRUE(file.ok());
    EXPECT_TRUE(file->Write("one").ok());
    OutputFile moved = std::move(*file);
    EXPECT_TRUE(moved.Write("two").ok());
    EXPECT_TRUE(moved.Sync().ok());
    EXPECT_EQ(moved.size_bytes(), 6u);
  }
  EXPECT_EQ(OutputFile::Open(path, OutputFile::Mode::kAppend)->size_bytes(), 6u);
  EXPECT_EQ(*ReadFile(path), "onetwo");
  EXPECT_EQ(OutputFile::Open(path, OutputFile::Mode::kTruncate)->size_bytes(), 0u);
  EXPECT_EQ(OutputFile::Open(dir_ / "no" / "folder", OutputFile::Mode::kAppend).status().code(), StatusCode::kNotFound);
  fs::create_symlink(path, dir_ / "link");
  EXPECT_FALSE(OutputFile::Open(dir_ / "link", OutputFile::Mode::kAppend).ok());
  Result<OutputFile> full = OutputFile::Open("/dev/full", OutputFile::Mode::kAppend);
  if (full.ok()) {
    EXPECT_EQ(full->Write("x").code(), StatusCode::kResourceExhausted);
  }
}

TEST_F(FileTest, MapsRegularFilesOnly) {
  const fs::path path = dir_ / "a.bin";
  ASSERT_TRUE(WriteFileAtomic(path, "abc").ok());
  Result<MappedFile> opened = MappedFile::Open(path);
  ASSERT_TRUE(opened.ok());
  const std::byte* address = opened->bytes().data();
  MappedFile moved = std::move(*opened);
  EXPECT_EQ(moved.bytes().data(), address);
  EXPECT_EQ(moved.bytes().size(), 3u);
  EXPECT_EQ(MappedFile::Open(dir_ / "none").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(MappedFile::Open(dir_).status().code(), StatusCode::kInvalidArgument);
  ASSERT_EQ(::mkfifo((dir_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::Open(dir_ / "fifo").status().code(), StatusCode::kInvalidArgument);
  ASSERT_TRUE(WriteFileAtomic(dir_ / "empty", "").ok());
  EXPECT_TRUE(MappedFile::Open(dir_ / "empty")->bytes().empty());
}

TEST_F(FileTest, DroppedPagesComeBackFromTheFile) {
  const fs::path path = dir_ / "large.bin";
  const std::string text(size_t{32} << 20, 'x');
  ASSERT_TRUE(WriteFileAtomic(path, text).ok());
  const MappedFile file = std::move(*MappedFile::Open(path));
  const auto count = [&] { return std::ranges::count(file.bytes(), std::byte{'x'}); };
  EXPECT_EQ(count(), std::ssize(text));
  const uint64_t before = GetMemoryInfo().resident_bytes;
  DropMappedPages(file.bytes().subspan(100));
  EXPECT_LT(GetMemoryInfo().resident_bytes, before - (uint64_t{16} << 20));
  EXPECT_EQ(count(), std::ssize(text));
  DropMappedPages(file.bytes().subspan(10, 20));  // not a whole page
}

TEST(XdgTest, FollowsTheEnvironment) {
  ::setenv("XDG_DATA_HOME", "/tmp/xdg-data", 1);
  ::unsetenv("LEM_DATA_DIR");
  EXPECT_EQ(DataDir(), fs::path("/tmp/xdg-data/lemonade"));
  ::setenv("XDG_DATA_HOME", "relative", 1);  // the specification says: ignore relative paths
  ::setenv("HOME", "/home/someone", 1);
  EXPECT_EQ(DataDir(), fs::path("/home/someone/.local/share/lemonade"));
  ::setenv("LEM_DATA_DIR", "/elsewhere", 1);
  EXPECT_EQ(DataDir(), fs::path("/elsewhere"));
}

}  // namespace
}  // namespace lem
