// Completion bodies: the four forms of a prompt, echo, logprobs, and which field an error names.
#include "api/openai/completion_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem::openai {
namespace {

using testing::ElementsAre;
using testing::VariantWith;

ParseResult<CompletionRequest> Parse(std::string_view fields) {
  const auto body = ParseJson(fmt::format(R"({{"model":"m",{}}})", fields));
  EXPECT_TRUE(body.ok()) << body.status().ToString() << " " << fields;
  return ParseCompletionRequest(*body);
}
CompletionRequest Taken(std::string_view fields) {
  auto request = Parse(fields);
  EXPECT_TRUE(request.has_value()) << request.error().status.message() << " " << fields;
  return request ? *std::move(request) : CompletionRequest();
}

TEST(CompletionRequestTest, TakesPromptsInFourForms) {
  using Ids = std::vector<TokenId>;
  EXPECT_THAT(Taken(R"("prompt":"a")").prompts, ElementsAre(VariantWith<std::string>("a")));
  EXPECT_THAT(Taken(R"("prompt":"")").prompts, ElementsAre(VariantWith<std::string>("")));
  EXPECT_THAT(Taken(R"("prompt":["a","b"])").prompts,
              ElementsAre(VariantWith<std::string>("a"), VariantWith<std::string>("b")));
  EXPECT_THAT(Taken(R"("prompt":[1,2])").prompts, ElementsAre(VariantWith<Ids>(Ids{1, 2})));
  EXPECT_THAT(Taken(R"("prompt":[[1],[2,3]])").prompts,
              ElementsAre(VariantWith<Ids>(Ids{1}), VariantWith<Ids>(Ids{2, 3})));
}

TEST(CompletionRequestTest, ReadsItsOwnOptions) {
  const CompletionRequest plain = Taken(R"("prompt":"a")");
  EXPECT_EQ(plain.options.max_tokens, 16);
  EXPECT_EQ(plain.options.num_logprobs, -1);
  EXPECT_FALSE(plain.echo);
  EXPECT_EQ(plain.special_tokens, SpecialTokens::kAsText);
  const CompletionRequest request = Taken(
      R"("prompt":"a","max_tokens":0,"echo":true,"logprobs":0,"best_of":2,"n":2,"suffix":null,"parse_special":true)");
  EXPECT_EQ(request.options.max_tokens, 0);
  EXPECT_EQ(request.options.num_logprobs, 0);
  EXPECT_TRUE(request.echo);
  EXPECT_EQ(request.special_tokens, SpecialTokens::kParse);
}

TEST(CompletionRequestTest, RefusalsNameTheField) {
  const struct {
    std::string fields, param, code;
  } kRefusals[] = {
      {R"("x":1)", "prompt", "missing_required_parameter"},
      {R"("prompt":null)", "prompt", "missing_required_parameter"},
      {R"("prompt":5)", "prompt", "invalid_type"},
      {R"("prompt":{})", "prompt", "invalid_type"},
      {R"("prompt":[])", "prompt", "empty_array"},
      {R"("prompt":[true])", "prompt[0]", "invalid_type"},
      {R"("prompt":["a",1])", "prompt[1]", "invalid_type"},
      {R"("prompt":[1,"a"])", "prompt[1]", "invalid_type"},
      {R"("prompt":[1,-1])", "prompt[1]", "integer_below_min_value"},
      {R"("prompt":[1,2147483648])", "prompt[1]", "integer_above_max_value"},
      {R"("prompt":[1,1.5])", "prompt[1]", "invalid_type"},
      {R"("prompt":[[1],"a"])", "prompt[1]", "invalid_type"},
      {R"("prompt":[[1],["a"]])", "prompt[1][0]", "invalid_type"},
      {R"("prompt":["a","b"],"suffix":"c")", "suffix", "unsupported_value"},
      {R"("prompt":"a","suffix":"b","echo":true)", "suffix", "unsupported_value"},
      {R"("prompt":"a","suffix":5)", "suffix", "invalid_type"},
      {R"("prompt":"a","best_of":3,"stream":true)", "best_of", "unsupported_value"},
      {R"("prompt":"a","best_of":3,"echo":true)", "best_of", "unsupported_value"},
      {R"("prompt":"a","best_of":1,"n":2)", "best_of", "invalid_value"},
      {R"("prompt":"a","logprobs":true)", "logprobs", "invalid_type"},
      {R"("prompt":["a","b","c","d","e"],"n":128)", "prompt", "array_above_max_length"},
  };
  for (const auto& refusal : kRefusals) {
    const auto request = Parse(refusal.fields);
    ASSERT_FALSE(request.has_value()) << refusal.fields;
    EXPECT_EQ(request.error().param, refusal.param) << refusal.fields;
    EXPECT_EQ(request.error().code, refusal.code) << refusal.fields;
  }
}

}  // namespace
}  // namespace lem::openai
