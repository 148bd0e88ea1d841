// Writes answers, errors and model lists as Anthropic's Messages API has them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "api/answer_writer.h"
#include "api/model_summary.h"

namespace lem::anthropic {

struct MessageEnvelope {
  std::string id;  // "msg_..."
  std::string model;
  int32_t prompt_tokens = 0;
};

struct MessageOptions {
  bool stream = false;
  bool thinking = false;       // reasoning is written; else it is left out
  bool show_thinking = false;  // with its text
};

std::unique_ptr<AnswerWriter> MakeMessageWriter(MessageEnvelope envelope, MessageOptions options);

std::string WriteError(const WireError& error);
// The type of an error, which follows from its HTTP status.
std::string ErrorType(int http_status);

std::string WriteTokenCount(int64_t input_tokens);

std::string WriteModelList(std::span<const ModelSummary> models);
std::string WriteModel(const ModelSummary& model);

}  // namespace lem::anthropic
