#include "runtime/store/partial_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

std::string HashOf(std::string_view text) {
  Sha256 hash;
  hash.Update(Bytes(text));
  return hash.FinishHex();
}

class PartialFileTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / fmt::format("lem-partial-test-{}", ::getpid());
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  PartialFile Open(uint64_t expected_bytes = 20) {
    Result<PartialFile> file = PartialFile::Open(dir_, expected_bytes, Disk::Real(), CancelToken());
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    return std::move(*file);
  }
  std::string Content() { return *ReadFile(dir_ / "content"); }

  fs::path dir_;
};

TEST_F(PartialFileTest, GoesOnWhereItWasLeft) {
  {
    PartialFile file = Open();
    EXPECT_FALSE(file.has_old_bytes());
    ASSERT_TRUE(file.Append(Bytes("first")).ok());
    ASSERT_TRUE(file.FinishPiece("one").ok());
    ASSERT_TRUE(file.Append(Bytes("second")).ok());
    ASSERT_TRUE(file.FinishPiece("two").ok());
    ASSERT_TRUE(file.Append(Bytes("ta")).ok());
  }
  PartialFile file = Open();
  EXPECT_TRUE(file.has_old_bytes());
  EXPECT_EQ(file.size_bytes(), 13u);
  ASSERT_EQ(file.num_pieces(), 2u);
  EXPECT_EQ(file.piece_id(1), "two");
  ASSERT_TRUE(file.Append(Bytes("il")).ok());
  EXPECT_EQ(*file.Finish(), HashOf("firstsecondtail"));
  EXPECT_EQ(Content(), "firstsecondtail");
}

TEST_F(PartialFileTest, KeepsPiecesAndDropsTheRest) {
  PartialFile file = Open();
  ASSERT_TRUE(file.Append(Bytes("first")).ok());
  ASSERT_TRUE(file.FinishPiece("one").ok());
  ASSERT_TRUE(file.Append(Bytes("second")).ok());
  ASSERT_TRUE(file.FinishPiece("two").ok());
  ASSERT_TRUE(file.Append(Bytes("x")).ok());
  ASSERT_TRUE(file.KeepPieces(2, CancelToken()).ok());
  EXPECT_EQ(file.size_bytes(), 11u);
  ASSERT_TRUE(file.KeepPieces(1, CancelToken()).ok());
  EXPECT_EQ(Content(), "first");
  ASSERT_TRUE(file.Append(Bytes("+")).ok());
  EXPECT_EQ(*file.Finish(), HashOf("first+"));
  ASSERT_TRUE(file.Clear().ok());
  EXPECT_EQ(file.size_bytes(), 0u);
  EXPECT_EQ(Content(), "");
}

TEST_F(PartialFileTest, HashesPiecesAgain) {
  {
    PartialFile file = Open();
    ASSERT_TRUE(file.Append(Bytes("first")).ok());
    ASSERT_TRUE(file.FinishPiece("one").ok());
    ASSERT_TRUE(file.Append(Bytes("second")).ok());
    ASSERT_TRUE(file.FinishPiece("two").ok());
    ASSERT_TRUE(file.Append(Bytes("tail")).ok());
  }
  ASSERT_TRUE(WriteFileAtomic(dir_ / "content", "firstsecQndtail").ok());
  PartialFile file = Open();
  EXPECT_EQ(file.num_pieces(), 1u);
  EXPECT_EQ(file.size_bytes(), 5u);
  EXPECT_EQ(Content(), "first");
}

TEST_F(PartialFileTest, TrustsNoStateFile) {
  const std::string hash = HashOf("first");
  const std::string kStates[] = {
      "",
      "{",
      "[]",
      "{\"pieces\": 3}",
      "{\"pieces\": [{\"id\": \"one\"}]}",
      fmt::format("{{\"pieces\": [{{\"id\": \"one\", \"size_bytes\": -5, \"sha256\": \"{}\"}}]}}", hash),
      fmt::format("{{\"pieces\": [{{\"id\": \"one\", \"size_bytes\": 9223372036854775807, \"sha256\": \"{}\"}}]}}",
                  hash),
      fmt::format("{{\"pieces\": [{{\"id\": \"one\", \"size_bytes\": 4, \"sha256\": \"{}\"}}]}}", hash),
  };
  for (const std::string& state : kStates) {
    ASSERT_TRUE(WriteFileAtomic(dir_ / "content", "first").ok());
    ASSERT_TRUE(WriteFileAtomic(dir_ / "state.json", state).ok());
    PartialFile file = Open();
    EXPECT_EQ(file.num_pieces(), 0u) << state;
    ASSERT_TRUE(file.KeepPieces(0, CancelToken()).ok());
    EXPECT_EQ(file.size_bytes(), 0u) << state;
  }
  ASSERT_TRUE(WriteFileAtomic(dir_ / "content", "longer than the model can be").ok());
  EXPECT_EQ(Open().size_bytes(), 0u);
}

TEST_F(PartialFileTest, AdoptsAFetchedFile) {
  PartialFile file = Open(10);
  ASSERT_TRUE(file.Append(Bytes("first")).ok());
  ASSERT_TRUE(file.FinishPiece("one").ok());
  ASSERT_TRUE(WriteFileAtomic(dir_ / "url.part", "too short").ok());
  EXPECT_EQ(file.Adopt(dir_ / "url.part", false, CancelToken()).code(), StatusCode::kDataLoss);
  EXPECT_EQ(Content(), "first");
  ASSERT_TRUE(WriteFileAtomic(dir_ / "url.part", "0123456789").ok());
  ASSERT_TRUE(file.Adopt(dir_ / "url.part", true, CancelToken()).ok());
  EXPECT_EQ(file.num_pieces(), 0u);
  EXPECT_TRUE(file.has_old_bytes());
  EXPECT_EQ(*file.Finish(), HashOf("0123456789"));
  ASSERT_TRUE(file.Clear().ok());
  EXPECT_EQ(Content(), "");
}

TEST_F(PartialFileTest, NeverGrowsPastTheModel) {
  PartialFile file = Open(4);
  ASSERT_TRUE(file.Append(Bytes("abc")).ok());
  EXPECT_EQ(file.Append(Bytes("de")).code(), StatusCode::kDataLoss);
  EXPECT_EQ(Content(), "abc");
}

}  // namespace
}  // namespace lem
