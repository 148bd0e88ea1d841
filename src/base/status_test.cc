#include "base/status.h"

#include <gtest/gtest.h>

namespace lem {
namespace {

Result<int> Half(int value) {
  if (value % 2 != 0) return InvalidArgument("{} is odd; allowed: even numbers", value);
  return value / 2;
}

Result<int> Quarter(int value) {
  LEM_ASSIGN_OR_RETURN(const int half, Half(value));
  return Half(half);
}

Status CheckQuarter(int value) {
  LEM_TRY(Quarter(value).status());
  return OkStatus();
}

TEST(StatusTest, OkIsFreeAndPrintsOk) {
  EXPECT_TRUE(OkStatus().ok());
  EXPECT_EQ(OkStatus().ToString(), "ok");
  EXPECT_EQ(sizeof(Status), sizeof(void*));
}

TEST(StatusTest, ErrorsKeepCodeAndMessageThroughCopies) {
  const Status error = NotFound("model '{}' is not here", "x");
  Status copy = error;
  EXPECT_EQ(copy.code(), StatusCode::kNotFound);
  EXPECT_EQ(copy.ToString(), "not_found: model 'x' is not here");
  EXPECT_EQ(std::move(copy).WithContext("pull").message(), "pull: model 'x' is not here");
}

TEST(ResultTest, PropagatesErrors) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status().message(), "3 is odd; allowed: even numbers");
  EXPECT_EQ(CheckQuarter(5).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(CheckQuarter(4).ok());
}

}  // namespace
}  // namespace lem
