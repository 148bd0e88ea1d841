// Answers made of embeddings: texts are submitted some at a time, and when the vectors of all are there a writer makes
// the body of them.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "server/answer_sink.h"
#include "server/handler_context.h"

namespace lem {

// What a request asks for, whatever its dialect.
struct EmbeddingQuery {
  std::string model;
  std::vector<Prompt> inputs;
  std::string param;  // of the inputs, for errors
  Pooling pooling = Pooling::kMean;
  int32_t dimensions = 0;  // entries to be kept; 0 = all
  bool truncate = false;   // cuts what is longer than the context, instead of refusing it
  std::optional<std::chrono::seconds> keep_alive;
  // The body of the answer: the id of the model, vectors of length 1 by input, and tokens read.
  std::function<std::string(const std::string& model, const std::vector<std::vector<float>>& vectors,
                            int64_t prompt_tokens)>
      write;
};

// Answers now if the query is refused, else when the vectors are there. What `context` refers to, and the dialect, must
// outlive the answer.
void AnswerEmbeddings(const HandlerContext& context, const http::Request& request, const http::Responder& responder,
                      ParseResult<EmbeddingQuery> query, const ErrorDialect& dialect);

}  // namespace lem
