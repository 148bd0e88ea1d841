// OpenAI's embeddings, and rerank as Jina and Cohere have it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/request_error.h"
#include "api/text_request.h"
#include "base/json.h"

namespace lem::openai {

struct EmbeddingsRequest {
  std::string model;
  std::vector<Prompt> inputs;  // at least one
  bool base64 = false;
  int32_t dimensions = 0;  // entries to be kept; 0 = all
  Pooling pooling = Pooling::kMean;
};
ParseResult<EmbeddingsRequest> ParseEmbeddingsRequest(const JsonValue& body);

// `vectors` by input.
std::string WriteEmbeddings(const EmbeddingsRequest& request, std::span<const std::vector<float>> vectors,
                            int64_t prompt_tokens);

struct RerankRequest {
  std::string model;
  std::string query;
  std::vector<std::string> documents;  // at least one
  size_t top_n = 0;
  bool return_documents = false;
};
ParseResult<RerankRequest> ParseRerankRequest(const JsonValue& body);

// vectors[0] is the query's, of length 1 as all are; the documents come by falling similarity.
std::string WriteRerank(const RerankRequest& request, std::string_view id, std::span<const std::vector<float>> vectors,
                        int64_t prompt_tokens);

}  // namespace lem::openai
