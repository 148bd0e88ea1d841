// A conversation with one model in this process, for `lem run`: streams answers to the terminal and keeps their
// numbers.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/local_service.h"
#include "text/chat_prompt.h"

namespace lem {

struct AnswerOptions {
  SamplingParams sampling;
  int32_t max_tokens = -1;
  std::vector<std::string> stop;
  std::shared_ptr<const Grammar> grammar;  // what every answer must be; null = anything
};

struct Answer {
  std::string text;
  FinishReason reason = FinishReason::kStop;
  Usage usage;
  PlanSummary plan;
};

// Not thread-safe.
class ChatSession {
 public:
  // Loads the model; `service` options beyond the model come from the caller. Errors: as LocalService::WaitUntilLoaded.
  static Result<std::unique_ptr<ChatSession>> Create(LocalServiceOptions options);

  const ModelInfo& model() const { return model_; }
  const LocalService& service() const { return service_; }
  AnswerOptions& options() { return options_; }
  const std::string& system() const { return system_; }
  // Replaces the system prompt and begins anew.
  void SetSystem(std::string text);
  void Clear() { history_.clear(); }
  size_t num_messages() const { return history_.size(); }

  using OnText = std::function<void(const std::string& text)>;
  // Adds the message to the conversation, and the answer when it is whole or was interrupted. Errors: of the template
  // (the message is then dropped), of the engine.
  Result<Answer> Say(std::string message, const OnText& on_text, const CancelToken& interrupt);
  // Continues a text as it is, outside the conversation.
  Result<Answer> Complete(std::string_view prompt, const OnText& on_text, const CancelToken& interrupt);

 private:
  explicit ChatSession(LocalServiceOptions options) : service_(std::move(options)) {}
  Result<Answer> Generate(std::vector<TokenId> prompt, bool at_text_start, const OnText& on_text,
                          const CancelToken& interrupt);

  LocalService service_;
  ModelInfo model_;
  AnswerOptions options_;
  std::string system_;
  std::vector<ChatMessage> history_;  // without the system message
};

}  // namespace lem
