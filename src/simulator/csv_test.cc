#include "simulator/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem {
namespace {

using testing::HasSubstr;

TEST(CsvTest, ReadsCellsAndNumbers) {
  const CsvTable table = *CsvTable::Parse("# a comment\nname, size\r\n\nx,1.5\n y ,\n", "t.csv", {"name", "size"});
  ASSERT_EQ(table.num_rows(), 2U);
  EXPECT_EQ(table.Text(1, "name"), "y");
  EXPECT_EQ(table.Text(0, "nothing"), "");
  EXPECT_EQ(**table.Number(0, "size"), 1.5);
  EXPECT_FALSE(table.Number(1, "size")->has_value());
  EXPECT_EQ(table.Where(1), "t.csv, line 5");
}

TEST(CsvTest, SaysWhatIsWrong) {
  const auto message = [](std::string_view text) { return CsvTable::Parse(text, "t.csv", {"a"}).status().message(); };
  EXPECT_THAT(message(""), HasSubstr("column 'a'"));
  EXPECT_THAT(message("a,a\n"), HasSubstr("once"));
  EXPECT_THAT(message("a,b\n1\n"), HasSubstr("line 2: 1 cells; the header has 2"));
  EXPECT_THAT(message("a\n" + std::string(600, 'x')), HasSubstr("512 characters"));
  EXPECT_THAT(message("a\n" + std::string(200, ',')), HasSubstr("201 cells"));
  std::string many = "a\n";
  for (size_t i = 0; i <= CsvTable::kMaxRows; ++i) many += "1\n";
  EXPECT_THAT(message(many), HasSubstr("more than 10000 rows"));
  EXPECT_THAT(message(std::string(CsvTable::kMaxBytes + 1, '#')), HasSubstr("bytes"));
  const CsvTable table = *CsvTable::Parse("a\nx\n-1\nnan\n1e999\n1 2\n", "t.csv", {"a"});
  for (size_t row = 0; row < table.num_rows(); ++row) {
    EXPECT_THAT(table.Number(row, "a").status().message(), HasSubstr("must be a number, 0 or more")) << row;
  }
}

}  // namespace
}  // namespace lem
