#include "server/api_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "server/testing/api_server_fixture.h"

namespace lem {
namespace {

using http::Get;
using http::Post;
using http::RawClient;
using http::RawResponse;
using testing::HasSubstr;

constexpr std::string_view kChat = "/v1/chat/completions";
constexpr int64_t kNow = 1'800'000'000;
const Clock::time_point kStart = Clock::now();

std::string FileOf(std::string_view more = "") {
  return fmt::format("[[key]]\nname = 'laptop'\nsha256 = '{}'\n{}", HashOfKey("secret"), more);
}

http::Request RequestWith(std::string name, std::string value) {
  http::Request request;
  request.method = "POST";
  request.headers = {{std::move(name), std::move(value)}};
  return request;
}

// What Check says of a request with the key "secret": 0 = it may be made.
int Status(ApiKeys& keys, std::string_view pattern = kChat, Clock::time_point now = kStart) {
  http::Request request = RequestWith("Authorization", "Bearer secret");
  const auto denial = keys.Check(request, pattern, now, kNow);
  EXPECT_EQ(request.principal, denial ? "" : "laptop");
  return denial ? denial->status : 0;
}
ApiKeys KeysOf(std::string_view more) {
  const auto keys = ApiKeys::Parse(FileOf(more), "f");
  EXPECT_TRUE(keys.ok()) << keys.status().ToString();
  return ApiKeys(keys.ok() ? *keys : std::vector<ApiKey>());
}

TEST(ApiKeysTest, ReadsFiles) {
  const auto keys =
      ApiKeys::Parse(FileOf("scopes = ['models', 'admin']\nexpires = '2027-01-31'\nrequests_per_minute = 5\n"
                            "tokens_per_minute = 6\n"),
                     "f");
  ASSERT_TRUE(keys.ok()) << keys.status().ToString();
  EXPECT_EQ(keys->at(0).name, "laptop");
  EXPECT_THAT(keys->at(0).scopes, testing::ElementsAre(Scope::kModels, Scope::kAdmin));
  EXPECT_EQ(keys->at(0).expires_unix_s, 1801353600);
  EXPECT_EQ(keys->at(0).requests_per_minute, 5);
  EXPECT_EQ(ApiKeys::Parse(FileOf("expires = '2027-01-31T12:00:00Z'"), "f")->at(0).expires_unix_s, 1801353600 + 43200);
  EXPECT_EQ(ApiKeys::Parse(FileOf(), "f")->at(0).scopes.size(), 1u);
  const std::pair<std::string, std::string_view> wrong[] = {
      {FileOf("scope = ['models']"), "f:4:1: unknown member scope"},
      {FileOf("scopes = ['all']"), "f:4:11: scopes is a list"},
      {FileOf("expires = 'soon'"), "f:4:11: expires of a key"},
      {FileOf("requests_per_minute = -1"), "from 0 to"},
      {FileOf() + FileOf(), "two keys are named 'laptop'"},
      {"[[key]]\nname = 'x'\n", "has no sha256"},
      {"[[key]]\nname = 'x'\nsha256 = 'ABC'\n", "64 lower-case"},
      {"keys = 1", "unknown member keys"},
  };
  for (const auto& [text, message] : wrong) {
    const auto result = ApiKeys::Parse(text, "f");
    EXPECT_FALSE(result.ok()) << text;
    EXPECT_THAT(result.status().message(), HasSubstr(message));
  }
}

TEST(ApiKeysTest, FilesThatOthersMayWriteAreRefused) {
  const std::filesystem::path file = testing::TempDir() + "/api_keys.toml";
  ASSERT_TRUE(WriteFileAtomic(file, FileOf()).ok());
  EXPECT_TRUE(ApiKeys::Load(file).ok());
  std::filesystem::permissions(file, std::filesystem::perms::others_write, std::filesystem::perm_options::add);
  EXPECT_EQ(ApiKeys::Load(file).status().code(), StatusCode::kPermissionDenied);
  std::filesystem::remove(file);
  EXPECT_EQ(ApiKeys::Load(file).status().code(), StatusCode::kNotFound);
}

TEST(ApiKeysTest, KeysAreShownInTwoWays) {
  ApiKeys keys = KeysOf("");
  for (const auto& [name, value, status] :
       std::initializer_list<std::tuple<const char*, const char*, int>>{{"Authorization", "Bearer secret", 0},
                                                                        {"authorization", "bearer secret", 0},
                                                                        {"X-Api-Key", "secret", 0},
                                                                        {"Authorization", "Bearer Secret", 401},
                                                                        {"Authorization", "Basic secret", 401},
                                                                        {"Authorization", "secret", 401},
                                                                        {"Authorization", "Bearer ", 401},
                                                                        {"X-Api-Key", "", 401},
                                                                        {"Cookie", "secret", 401}}) {
    http::Request request = RequestWith(name, value);
    const auto denial = keys.Check(request, kChat, kStart, kNow);
    EXPECT_EQ(denial ? denial->status : 0, status) << name << ' ' << value;
    if (denial) EXPECT_EQ(denial->headers.Get("WWW-Authenticate"), "Bearer");
  }
}

TEST(ApiKeysTest, ScopesAndEnds) {
  ApiKeys plain = KeysOf("");
  EXPECT_EQ(Status(plain), 0);
  EXPECT_EQ(Status(plain, "/api/pull"), 403);
  EXPECT_EQ(Status(plain, "/metrics"), 403);
  EXPECT_EQ(Status(plain, "/lem/v1/plans"), 403);
  EXPECT_EQ(Status(plain, ""), 0);
  ApiKeys admin = KeysOf("scopes = ['admin', 'models']");
  EXPECT_EQ(Status(admin), 403);
  EXPECT_EQ(Status(admin, "/api/delete"), 0);
  EXPECT_EQ(Status(admin, "/metrics"), 0);
  EXPECT_FALSE(ScopeOf("/health").has_value());
  EXPECT_FALSE(ScopeOf("/openapi.json").has_value());
  ApiKeys ended = KeysOf("expires = '2020-01-01'");
  EXPECT_EQ(Status(ended), 401);
}

TEST(ApiKeysTest, BudgetsFillEvenly) {
  ApiKeys keys = KeysOf("requests_per_minute = 2");
  EXPECT_EQ(Status(keys), 0);
  EXPECT_EQ(Status(keys), 0);
  http::Request request = RequestWith("x-api-key", "secret");
  EXPECT_EQ(keys.Check(request, kChat, kStart, kNow)->headers.Get("Retry-After"), "30");
  EXPECT_EQ(Status(keys, kChat, kStart + std::chrono::seconds(29)), 429);
  EXPECT_EQ(Status(keys, kChat, kStart + std::chrono::seconds(31)), 0);
  ApiKeys tokens = KeysOf("tokens_per_minute = 60");
  EXPECT_EQ(Status(tokens), 0);
  tokens.Charge("laptop", 90, kStart);  // an answer may go below zero
  EXPECT_EQ(Status(tokens, kChat, kStart + std::chrono::seconds(30)), 429);
  EXPECT_EQ(Status(tokens, kChat, kStart + std::chrono::seconds(32)), 0);
}

TEST(ApiKeysTest, MadeKeysDiffer) {
  const auto one = MakeKey(), other = MakeKey();
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_EQ(one->size(), 47u);
  EXPECT_NE(*one, *other);
}

// The whole server with keys and an audit log.
class KeyedServerTest : public ApiServerTest {
 protected:
  KeyedServerTest() : log_(testing::TempDir() + "/audit.jsonl") {
    std::filesystem::remove(log_);
    auto audit = AuditLog::Open(log_);
    EXPECT_TRUE(audit.ok());
    audit_ = *std::move(audit);
    keys_ = std::make_unique<ApiKeys>(*ApiKeys::Parse(FileOf("tokens_per_minute = 100000\n"), "f"));
    ApiServerOptions options;
    options.keys = keys_.get();
    options.audit = audit_.get();
    Restart(std::move(options));
  }
  ~KeyedServerTest() override { server_.reset(); }

  RawResponse PostWith(std::string_view path, std::string_view fields) const {
    return RawClient(port_).Request(Post(path, ChatBody(), fields));
  }
  std::vector<JsonValue> AuditLines() const {
    std::vector<JsonValue> lines;
    std::ifstream stream(log_);
    for (std::string line; std::getline(stream, line);) lines.push_back(Parsed(line));
    return lines;
  }

  const std::filesystem::path log_;
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<ApiKeys> keys_;
};

TEST_F(KeyedServerTest, NothingIsServedWithoutAKey) {
  for (const char* path : {"/v1/models", "/api/tags", "/metrics", "/nothing", "/v1/chat/completions/ws",
                           "/lem/v1/plans", "/v1/%6dodels", "//v1//models"}) {
    const RawResponse response = RawClient(port_).Request(Get(path));
    EXPECT_EQ(response.status, 401) << path;
    EXPECT_EQ(response.headers.Get("WWW-Authenticate"), "Bearer");
  }
  EXPECT_EQ(Parsed(PostWith(kChat, "").body).at("error").at("type"), "authentication_error");
  EXPECT_EQ(Parsed(PostWith("/v1/messages", "").body).at("error").at("type"), "authentication_error");
  EXPECT_TRUE(Parsed(PostWith("/api/chat", "").body).at("error").is_string());
  EXPECT_EQ(RawClient(port_).Request(Get("/health")).status, 200);
  EXPECT_EQ(RawClient(port_).Request(Get("/ready")).status, 200);
  EXPECT_EQ(service_.requests().size(), 0u);
  // A page asks before it sends a key.
  EXPECT_EQ(RawClient(port_)
                .Request("OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n"
                         "Access-Control-Request-Method: GET\r\n\r\n")
                .status,
            204);
}

TEST_F(KeyedServerTest, AnswersAreAudited) {
  EXPECT_EQ(PostWith(kChat, "Authorization: Bearer secret\r\n").status, 200);
  EXPECT_EQ(PostWith("/v1/messages", "x-api-key: wrong\r\n").status, 401);
  EXPECT_EQ(PostWith("/api/pull", "x-api-key: secret\r\n").status, 403);
  EXPECT_TRUE(http::Eventually([&] { return AuditLines().size() == 3; }));
  const std::vector<JsonValue> lines = AuditLines();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].at("event"), "answer");
  EXPECT_EQ(lines[0].at("key"), "laptop");
  EXPECT_EQ(lines[0].at("model"), "fake");
  EXPECT_EQ(lines[0].at("completion_tokens"), 5);
  EXPECT_EQ(lines[0].at("outcome"), "complete");
  EXPECT_EQ(lines[1].at("status"), 401);
  EXPECT_EQ(lines[2].at("route"), "/api/pull");
  std::ifstream stream(log_);
  const std::string all{std::istreambuf_iterator<char>(stream), {}};
  EXPECT_EQ(all.find("Hello"), std::string::npos);
  EXPECT_EQ(all.find("secret"), std::string::npos);
  EXPECT_EQ(std::filesystem::status(log_).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

}  // namespace
}  // namespace lem
