#include "server/error_mapping.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace lem {
namespace {

TEST(ErrorMappingTest, EveryCodeHasARow) {
  for (int code = 0; code <= static_cast<int>(StatusCode::kUnauthenticated); ++code) {
    const ErrorMapping& mapping = MappingOf(static_cast<StatusCode>(code));
    EXPECT_EQ(mapping.code, static_cast<StatusCode>(code));
    EXPECT_GE(mapping.http_status, code == 0 ? 200 : 400);
  }
}

TEST(ErrorMappingTest, SaysWhenToTryAgain) {
  const auto response = [](Status status) {
    return ErrorResponse(RequestError{std::move(status), "", ""}, kOpenAiErrors, "");
  };
  const http::Response busy = response(ResourceExhausted("full"));
  EXPECT_EQ(busy.status, 429);
  EXPECT_NE(busy.headers.Get("Retry-After"), "");
  EXPECT_EQ(response(Unavailable("loading")).status, 503);
  EXPECT_NE(response(Unavailable("loading")).headers.Get("Retry-After"), "");
  EXPECT_EQ(response(Internal("bug")).headers.Get("x-should-retry"), "false");
  EXPECT_EQ(response(InvalidArgument("wrong")).headers.Find("Retry-After"), nullptr);
}

TEST(ErrorMappingTest, WritesAllFourFields) {
  const http::Response response =
      ErrorResponse(RequestError{InvalidArgument("n is \"x\"\r\n"), "n", "invalid_type"}, kOpenAiErrors, "");
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(
      response.body,
      R"({"error":{"message":"n is \"x\"\r\n","type":"invalid_request_error","param":"n","code":"invalid_type"}})");
  http::HttpError error;
  error.status = 503;
  error.code = "overloaded";
  error.message = "too many";
  const http::Response overloaded = ErrorResponse(error);
  EXPECT_EQ(overloaded.body,
            R"({"error":{"message":"too many","type":"server_error","param":null,"code":"overloaded"}})");
  EXPECT_EQ(overloaded.headers.Get("Retry-After"), "1");
}

}  // namespace
}  // namespace lem
