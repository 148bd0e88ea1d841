#include "http/router.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem::http {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Router SomeRoutes() {
  Router router;
  const SyncHandler nothing = [](const Request&) { return Response(); };
  // Added in an order that is not the order of preference.
  for (const char* route : {"GET /{any*}", "GET /v1/models/{id*}", "GET /v1/models/{id}/files/{file}",
                            "GET /v1/models/{id}", "DELETE /v1/models/{id}", "GET /v1/models", "GET /v1/models/all",
                            "POST /v1/chat/completions", "POST /v1/completions", "GET /", "HEAD /head"}) {
    const std::string_view text = route;
    router.Add(std::string(text.substr(0, text.find(' '))), std::string(text.substr(text.find(' ') + 1)), nothing);
  }
  return router;
}

std::string Find(const Router& router, std::string_view method, std::string_view path) {
  const auto match = router.Match(method, path);
  if (!match) return "broken escape";
  if (match->route == nullptr) return fmt::format("allowed: {}", fmt::join(match->allowed_methods, " "));
  std::string out = match->route->method + ' ' + match->route->pattern;
  for (const auto& [name, value] : match->path_params) out += fmt::format(" {}={}", name, value);
  return out;
}

TEST(RouterTest, TheMostLiteralPatternWins) {
  const Router router = SomeRoutes();
  EXPECT_EQ(Find(router, "GET", "/v1/models"), "GET /v1/models");
  EXPECT_EQ(Find(router, "GET", "/v1/models/all"), "GET /v1/models/all");
  EXPECT_EQ(Find(router, "GET", "/v1/models/x"), "GET /v1/models/{id} id=x");
  EXPECT_EQ(Find(router, "GET", "/v1/models/x/y"), "GET /v1/models/{id*} id=x/y");
  EXPECT_EQ(Find(router, "GET", "/v1/models/x/files/y"), "GET /v1/models/{id}/files/{file} id=x file=y");
  EXPECT_EQ(Find(router, "GET", "/"), "GET /");
  EXPECT_EQ(Find(router, "GET", "/a/b"), "GET /{any*} any=a/b");
}

TEST(RouterTest, DecodesSegmentsAfterSplitting) {
  const Router router = SomeRoutes();
  EXPECT_EQ(Find(router, "GET", "/v1/models/org%2Fname"), "GET /v1/models/{id} id=org/name");
  EXPECT_EQ(Find(router, "GET", "/v1/%6Dodels"), "GET /v1/models");
  EXPECT_EQ(Find(router, "GET", "/v1/models/%zz"), "broken escape");
}

TEST(RouterTest, HeadAndOtherMethods) {
  const Router router = SomeRoutes();
  EXPECT_EQ(Find(router, "HEAD", "/v1/models/x"), "GET /v1/models/{id} id=x");
  EXPECT_EQ(Find(router, "HEAD", "/head"), "HEAD /head");
  EXPECT_EQ(Find(router, "PUT", "/v1/completions"), "allowed: GET HEAD POST OPTIONS");
  EXPECT_EQ(Find(router, "get", "/v1/models"), "allowed: GET HEAD OPTIONS");
}

TEST(RouterTest, Hints) {
  Router router;
  const SyncHandler nothing = [](const Request&) { return Response(); };
  router.Add("POST", "/v1/chat/completions", nothing);
  router.Add("POST", "/v1/completions", nothing);
  router.Add("GET", "/health", nothing);
  EXPECT_EQ(Find(router, "GET", "/v1/chat/completion"), "allowed: ");
  EXPECT_THAT(router.CloseRoutes("/v1/chat/completion"), ElementsAre("POST /v1/chat/completions"));
  EXPECT_EQ(router.CloseRoutes("/chat/completions").front(), "POST /v1/chat/completions");
  EXPECT_EQ(router.CloseRoutes("/api/v1/completions").front(), "POST /v1/completions");
  EXPECT_THAT(router.CloseRoutes("/healthz"), ElementsAre("GET /health"));
  EXPECT_THAT(router.CloseRoutes("/completely/else"), IsEmpty());
  EXPECT_THAT(router.CloseRoutes("/" + std::string(5000, 'a')), IsEmpty());
}

TEST(RouterDeathTest, RefusesMalformedPatterns) {
  const SyncHandler nothing = [](const Request&) { return Response(); };
  for (const char* bad : {"", "v1", "/a/{b", "/{a*}/b", "/a//b"}) {
    EXPECT_DEATH(Router().Add("GET", bad, nothing), "") << bad;
  }
  Router twice;
  twice.Add("GET", "/a", nothing);
  EXPECT_DEATH(twice.Add("GET", "/a", nothing), "");
}

}  // namespace
}  // namespace lem::http
