#include "api/openai/embeddings.h"

#include <gtest/gtest.h>

namespace lem::openai {
namespace {

template <typename Request>
RequestError ErrorOf(ParseResult<Request> (*parse)(const JsonValue&), std::string_view body) {
  const auto request = parse(*ParseJson(body));
  EXPECT_FALSE(request.has_value()) << body;
  return request ? RequestError{} : request.error();
}

TEST(EmbeddingsTest, ReadsAllFormsOfInput) {
  const auto size = [](std::string_view body) { return ParseEmbeddingsRequest(*ParseJson(body))->inputs.size(); };
  EXPECT_EQ(size(R"({"model":"m","input":"one"})"), 1u);
  EXPECT_EQ(size(R"({"model":"m","input":["one","two"]})"), 2u);
  EXPECT_EQ(size(R"({"model":"m","input":[1,2,3]})"), 1u);
  EXPECT_EQ(size(R"({"model":"m","input":[[1,2],[3]]})"), 2u);
  const auto full = ParseEmbeddingsRequest(
      *ParseJson(R"({"model":"m","input":"a","encoding_format":"base64","dimensions":7,"pooling":"cls","user":"u"})"));
  ASSERT_TRUE(full.has_value());
  EXPECT_TRUE(full->base64);
  EXPECT_EQ(full->dimensions, 7);
  EXPECT_EQ(full->pooling, Pooling::kFirst);
}

TEST(EmbeddingsTest, NamesWhatIsWrong) {
  EXPECT_EQ(ErrorOf(ParseEmbeddingsRequest, R"({"model":"m"})").param, "input");
  EXPECT_EQ(ErrorOf(ParseEmbeddingsRequest, R"({"model":"m","input":[]})").param, "input");
  EXPECT_EQ(ErrorOf(ParseEmbeddingsRequest, R"({"model":"m","input":["a",1]})").param, "input[1]");
  EXPECT_EQ(ErrorOf(ParseEmbeddingsRequest, R"({"model":"m","input":"a","encoding_format":"int8"})").param,
            "encoding_format");
  EXPECT_EQ(ErrorOf(ParseEmbeddingsRequest, R"({"model":"m","input":"a","dimensions":0})").param, "dimensions");
  EXPECT_EQ(ErrorOf(ParseEmbeddingsRequest, R"({"model":"m","input":"a","pooling":"max"})").param, "pooling");
  EXPECT_EQ(ErrorOf(ParseRerankRequest, R"({"model":"m","documents":["a"]})").param, "query");
  EXPECT_EQ(ErrorOf(ParseRerankRequest, R"({"model":"m","query":"q","documents":[]})").param, "documents");
  EXPECT_EQ(ErrorOf(ParseRerankRequest, R"({"model":"m","query":"q","documents":["a",{}]})").param,
            "documents[1].text");
}

TEST(EmbeddingsTest, WritesFloatsAndBase64) {
  const std::vector<std::vector<float>> vectors = {{0.1f, -2.0f}};
  EmbeddingsRequest request{.model = "m"};
  EXPECT_EQ(WriteEmbeddings(request, vectors, 3),
            R"({"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2.0]}],"model":"m",)"
            R"("usage":{"prompt_tokens":3,"total_tokens":3}})");
  request.base64 = true;
  EXPECT_NE(WriteEmbeddings(request, vectors, 3).find(R"("embedding":"zczMPQAAAMA=")"), std::string::npos);
}

TEST(RerankTest, BestComeFirst) {
  const auto request = ParseRerankRequest(*ParseJson(
      R"({"model":"m","query":"q","documents":["far",{"text":"near"},"middle"],"top_n":2,"return_documents":true})"));
  ASSERT_TRUE(request.has_value());
  const std::vector<std::vector<float>> vectors = {{1, 0}, {0, 1}, {1, 0}, {0.5f, 0.5f}};
  const JsonValue answer = *ParseJson(WriteRerank(*request, "rerank-1", vectors, 9));
  const JsonArray& results = answer.at("results").as_array();
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].at("index").as_int64(), 1);
  EXPECT_EQ(results[0].at("document").at("text").as_string(), "near");
  EXPECT_EQ(results[1].at("index").as_int64(), 2);
  EXPECT_NE(answer.at("method").as_string().find("pooled embeddings"), std::string::npos);
}

}  // namespace
}  // namespace lem::openai
