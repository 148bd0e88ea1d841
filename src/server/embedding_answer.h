// An answer made of embeddings: submits texts, some at a time, and when it has the vectors of all hands them to a
// writer.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/answer_sink.h"
#include "server/generation_setup.h"
#include "server/handler_context.h"

namespace lem {

struct EmbeddingSetup {
  std::vector<std::vector<TokenId>> inputs;
  std::string model;
  std::string param;  // of the inputs, for errors
  Pooling pooling = Pooling::kMean;
  int32_t dimensions = 0;  // entries to be kept; 0 = all
  // The body of the answer: vectors of length 1, by input.
  std::function<std::string(const std::vector<std::vector<float>>& vectors, int64_t prompt_tokens)> write;
};

// Texts as the tokens that the model reads; `truncate` cuts what is longer than the context. Errors: a prompt that is
// empty or longer than the context, ids that the model has not, dimensions that it has not; each naming its input.
ParseResult<std::vector<std::vector<TokenId>>> TokeniseInputs(const ModelInfo& model, const std::vector<Prompt>& inputs,
                                                              int32_t dimensions, const std::string& param,
                                                              bool truncate = false);

class EmbeddingAnswer final : public AnswerLoop::Task, public std::enable_shared_from_this<EmbeddingAnswer> {
 public:
  // The loop keeps the answer until it ends. What `context` refers to, and the dialect, must outlive it.
  static void Start(AnswerLoop& loop, GenerationContext context, EmbeddingSetup setup, std::unique_ptr<AnswerSink> sink,
                    const ErrorDialect& dialect);

  void Run() override;
  void Abandon() override { End(); }

 private:
  struct Pending {
    size_t input = 0;
    std::unique_ptr<Generation> generation;
  };

  EmbeddingAnswer(AnswerLoop& loop, GenerationContext context, EmbeddingSetup setup, std::unique_ptr<AnswerSink> sink,
                  const ErrorDialect& dialect);
  bool SubmitMore();
  void TakeEvents();
  void Handle(Pending& pending, Event event);
  void Fail(const Status& status, size_t input);
  void End();

  AnswerLoop& loop_;
  const GenerationContext context_;
  const EmbeddingSetup setup_;
  const std::unique_ptr<AnswerSink> sink_;
  const ErrorDialect& dialect_;
  std::atomic<bool> client_gone_{false};

  // Of the loop's thread alone.
  std::vector<Pending> pending_;
  std::vector<std::vector<float>> vectors_;  // by input
  size_t num_submitted_ = 0, num_done_ = 0;
  int64_t prompt_tokens_ = 0;
  bool begun_ = false, ended_ = false;
};

}  // namespace lem
