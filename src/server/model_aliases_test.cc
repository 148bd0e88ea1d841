// Other names of models: which of them are understood, and that every dialect serves them.
#include "server/model_aliases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/testing/api_server_fixture.h"

namespace lem {
namespace {

using testing::HasSubstr;

ModelAliases Aliases(std::vector<std::string> aliases) {
  auto parsed = ModelAliases::Parse(aliases);
  EXPECT_TRUE(parsed.ok()) << parsed.status().ToString();
  return *std::move(parsed);
}

TEST(ModelAliasesTest, EqualNamesComeBeforePatterns) {
  const ModelAliases aliases = Aliases({"*=rest", "claude-*-haiku=small", "claude-x-haiku=x", "a=b=c"});
  EXPECT_EQ(aliases.Find("claude-x-haiku"), "x");
  EXPECT_EQ(aliases.Find("claude-3-haiku"), "rest");  // the first that matches
  EXPECT_EQ(aliases.Find("a"), "b=c");
  EXPECT_EQ(Aliases({"a-*-b=m"}).Find("a-b"), std::nullopt);
  EXPECT_EQ(Aliases({"a-*-b=m"}).Find("a-1-b"), "m");
  EXPECT_EQ(ModelAliases().Find("a"), std::nullopt);
}

TEST(ModelAliasesTest, BrokenOnesAreRefused) {
  for (const std::string alias : {"", "a", "=b", "a=", "a*b*=c"}) {
    const Status status = ModelAliases::Parse({&alias, 1}).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << alias;
    EXPECT_THAT(status.message(), HasSubstr("NAME=MODEL"));
  }
}

class AliasesTest : public ApiServerTest {
 protected:
  AliasesTest() {
    ApiServerOptions options;
    options.aliases = Aliases({"gpt-*=fake", "lost=nobody", "fake=nobody"});
    Restart(std::move(options));
  }
  static std::string Body(std::string_view more) { return fmt::format(R"({{"model":"gpt-x",{}}})", more); }
};

TEST_F(AliasesTest, EveryDialectServesThem) {
  constexpr std::string_view kMessages = R"("messages":[{"role":"user","content":"Hi"}])";
  EXPECT_EQ(AskJson("/v1/chat/completions", Body(kMessages)).at("model"), "fake");
  EXPECT_EQ(AskJson("/v1/completions", Body(R"("prompt":"a")")).at("model"), "fake");
  EXPECT_EQ(AskJson("/v1/responses", Body(R"("input":"a")")).at("model"), "fake");
  EXPECT_EQ(AskJson("/v1/messages", Body(fmt::format(R"({},"max_tokens":5)", kMessages))).at("model"), "fake");
  EXPECT_EQ(AskJson("/api/chat", Body(fmt::format(R"({},"stream":false)", kMessages))).at("done"), true);
  EXPECT_EQ(AskJson("/tokenize", Body(R"("content":"a")")).at("count"), 2);
  // A model's own name comes first.
  EXPECT_EQ(AskJson("/v1/chat/completions", ChatBody()).at("model"), "fake");
}

TEST_F(AliasesTest, ModelsAreListedUnderTheirOwnNames) {
  const auto get = [&](std::string_view path) { return http::RawClient(port_).Request(http::Get(path)); };
  EXPECT_EQ(Parsed(get("/v1/models").body).at("data").as_array().size(), 1u);
  EXPECT_EQ(Parsed(get("/v1/models/gpt-4").body).at("id"), "fake");
}

TEST_F(AliasesTest, ErrorsNameAliasAndModel) {
  const JsonValue error =
      Refused("/v1/chat/completions", R"({"model":"lost","messages":[{"role":"user","content":"x"}]})", 404);
  EXPECT_THAT(Text(error.at("message")), HasSubstr("'lost' stands for 'nobody'"));
  EXPECT_EQ(error.at("code"), "model_not_found");
  service_.SetState(ModelState::kUnloaded);  // is loaded when it is asked for, by any name
  EXPECT_EQ(Ask("/v1/completions", Body(R"("prompt":"a")")).status, 200);
}

}  // namespace
}  // namespace lem
