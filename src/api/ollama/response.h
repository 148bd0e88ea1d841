// Writes answers and errors as Ollama's own API has them: one JSON object a line, the last one with the figures.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "api/answer_writer.h"

namespace lem::ollama {

enum class Answer { kChat, kGenerate };

struct ResponseOptions {
  Answer answer = Answer::kChat;
  std::string model;
  bool stream = true;
  bool with_logprobs = false;
  bool thinking = true;             // reasoning is shown
  Clock::time_point received_at{};  // of the request, for total_duration
};

std::unique_ptr<AnswerWriter> MakeWriter(ResponseOptions options);

// The answer to a request without a prompt; `reason` is "load" or "unload".
std::string WriteLoaded(const ResponseOptions& options, std::string_view reason);

struct EmbedResponse {
  std::string model;
  bool is_single = false;  // of /api/embeddings
  Clock::time_point received_at{};
  int64_t prompt_tokens = 0;
};
std::string WriteEmbeddings(const EmbedResponse& response, std::span<const std::vector<float>> vectors);

std::string WriteError(const WireError& error);

}  // namespace lem::ollama
