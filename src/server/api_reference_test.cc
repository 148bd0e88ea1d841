// The document and the router say the same.
#include "server/api_reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/json.h"
#include "server/testing/api_server_fixture.h"

namespace lem {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Upper(std::string_view text) {
  std::string upper(text);
  std::ranges::transform(upper, upper.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return upper;
}

// "GET /v1/models/{id}" for all paths of the document, those of x-also-at, too.
std::multiset<std::string> DocumentedRoutes(const JsonValue& document) {
  std::multiset<std::string> routes;
  for (const auto& [path, item] : document.at("paths").as_object()) {
    std::vector<std::string> at = {std::string(path)};
    if (const JsonValue* more = item.as_object().if_contains("x-also-at")) {
      for (const JsonValue& other : more->as_array()) at.emplace_back(other.as_string());
    }
    for (const auto& [method, operation] : item.as_object()) {
      if (method == "x-also-at") continue;
      for (const std::string& place : at) routes.insert(fmt::format("{} {}", Upper(method), place));
    }
  }
  return routes;
}

TEST_F(ApiServerTest, EveryRouteIsInTheDocumentAndTheOtherWayRound) {
  const auto document = ParseJson(OpenApiDocument());
  ASSERT_TRUE(document.ok()) << document.status().ToString();
  std::multiset<std::string> served;
  for (const auto& route : server_->router().routes()) {
    std::string pattern = route->pattern;
    if (pattern.ends_with("*}")) pattern.erase(pattern.size() - 2, 1);  // OpenAPI has no parameters with slashes
    served.insert(route->method + ' ' + pattern);
  }
  EXPECT_THAT(DocumentedRoutes(*document), testing::ContainerEq(served));
  EXPECT_EQ(document->at("info").at("version"), LEM_VERSION);
}

TEST_F(ApiServerTest, ServesTheDocumentAndAPageThatLoadsNothingElse) {
  http::RawClient client(port_);
  const http::RawResponse document = client.Request(http::Get("/openapi.json"));
  EXPECT_EQ(document.status, 200);
  EXPECT_EQ(document.headers.Get("Content-Type"), "application/json");
  EXPECT_EQ(document.body, OpenApiDocument());
  const http::RawResponse page = client.Request(http::Get("/docs"));
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(std::string(page.headers.Get("Content-Security-Policy")), HasSubstr("default-src 'none'"));
  EXPECT_THAT(page.body, HasSubstr("/openapi.json"));
  for (const char* outside : {"http://", "https://", "src=", "@import", "url("}) {
    EXPECT_THAT(page.body, Not(HasSubstr(outside)));
  }
}

}  // namespace
}  // namespace lem
