#include "telemetry/sysfs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "telemetry/recorded_tree.h"

namespace lem::sysfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

TEST(SysfsTest, ReadsNumbersOfExactlyOneWord) {
  const RecordedTree tree("");
  const auto number = [&](std::string_view content, uint64_t max_value = kNoLimit) {
    tree.Write("x", content);
    return ReadUnsigned(tree.root() / "x", max_value);
  };
  EXPECT_EQ(*number("42\n"), 42u);
  EXPECT_EQ(*number(" 0 "), 0u);
  EXPECT_EQ(*number("18446744073709551615\n"), kNoLimit);
  for (const std::string_view garbage :
       {"", "\n", "x", "-1", "1 2", "12x", "0x10", "18446744073709551616", "1.5", "+3"}) {
    EXPECT_EQ(number(garbage).status().code(), StatusCode::kDataLoss) << garbage;
  }
  EXPECT_EQ(*number("100", 100), 100u);
  EXPECT_THAT(number("101", 100).status().message(), HasSubstr("holds '101', not a number from 0 to 100"));
  EXPECT_THAT(number("\x1b[31m\xff", 100).status().message(), HasSubstr("holds '?[31m?'"));
  EXPECT_EQ(*ReadSigned((tree.Write("x", "-7\n"), tree.root() / "x"), 7), -7);
  EXPECT_FALSE(ReadSigned((tree.Write("x", "-8\n"), tree.root() / "x"), 7).ok());
}

TEST(SysfsTest, HugeFilesAreReadToALimit) {
  const RecordedTree tree("");
  tree.Write("x", std::string(1'000'000, '9'));
  EXPECT_EQ(ReadPrefix(tree.root() / "x")->size(), 4096u);
  const Status status = ReadUnsigned(tree.root() / "x", kNoLimit).status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_LT(status.message().size(), 400u);
  EXPECT_EQ(ReadName(tree.root() / "x"), std::string(64, '9'));
  EXPECT_GT(ReadPrefix("/proc/self/stat")->size(), 20u);  // a file that claims to be empty
}

TEST(SysfsTest, NamesAreOneLineOfPrintableText) {
  const RecordedTree tree("");
  tree.Write("x", "amd\x07gpu \nmore\n");
  EXPECT_EQ(ReadName(tree.root() / "x"), "amd?gpu");
  EXPECT_EQ(ReadName(tree.root() / "none"), "");
}

TEST(SysfsTest, SaysWhatIsWrongWithAFile) {
  const RecordedTree tree("");
  EXPECT_EQ(ReadPrefix(tree.root() / "none").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadPrefix(tree.root()).status().code(), StatusCode::kNotFound);
  ASSERT_EQ(::mkfifo((tree.root() / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(ReadPrefix(tree.root() / "pipe").status().code(), StatusCode::kNotFound);
  tree.Link("loop", "loop");
  EXPECT_FALSE(ReadPrefix(tree.root() / "loop").ok());
}

TEST(SysfsTest, ListsByNumber) {
  const RecordedTree tree("");
  for (const std::string_view name : {"hwmon10", "hwmon2", "hwmon", "hwmonx", "other1", "hwmon2:1"})
    tree.Write(name, "");
  std::vector<std::string> names;
  for (const std::filesystem::path& path : Numbered(tree.root(), "hwmon")) names.push_back(path.filename().string());
  EXPECT_THAT(names, ElementsAre("hwmon2", "hwmon2:1", "hwmon10"));
  EXPECT_TRUE(Numbered(tree.root() / "none", "hwmon").empty());
  for (int i = 0; i < 300; ++i) tree.Write(fmt::format("many/zone{}", i), "");
  EXPECT_EQ(Numbered(tree.root() / "many", "zone").size(), 256u);
}

TEST(SysfsTest, LinksAndAddresses) {
  const RecordedTree tree("");
  tree.Link("device", "../../../0000:03:00.0");
  EXPECT_EQ(LinkName(tree.root() / "device"), "0000:03:00.0");
  EXPECT_EQ(LinkName(tree.root() / "none"), "");
  EXPECT_TRUE(IsPciAddress("0000:c4:00.1"));
  for (const std::string_view other : {"", "BAT0", "0000:03:00", "0000:03:00.0 ", "0000-03:00.0", "g000:03:00.0"}) {
    EXPECT_FALSE(IsPciAddress(other)) << other;
  }
}

}  // namespace
}  // namespace lem::sysfs
