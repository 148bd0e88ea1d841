// From a parsed request to generations that are queued: templates, tokenising, and the checks that need the model.
// Runs on the HTTP workers; stateless, so thread-safe.
#pragma once

#include <string>

#include "api/text_request.h"
#include "runtime/inference_service.h"
#include "server/output_grammar.h"
#include "server/served_answer.h"
#include "server/urgency.h"

namespace lem {

struct GenerationContext {
  InferenceService& service;
  GrammarCache& grammars;
  std::string request_id;
  Clock::time_point deadline = Clock::time_point::max();
  ParseResult<Urgency> urgency;  // an error refuses the request
};

// The model, if it can answer now; one that is loaded on demand is waited for. Errors: NotFound, Unavailable (loading
// or failed), ResourceExhausted (no room for it).
ParseResult<ModelInfo> FindReadyModel(InferenceService& service, const std::string& id,
                                      Clock::time_point deadline = Clock::time_point::max());

// The prompt that SetUpChat would make, and the number of its tokens.
ParseResult<std::vector<TokenId>> EncodeChatPrompt(const ModelInfo& model, ChatRequest request);
ParseResult<int64_t> CountChatTokens(const ModelInfo& model, ChatRequest request);

// All but the writer. Errors: of the template, of the model's limits, of InferenceService::Submit; when one generation
// of several is refused the others are cancelled.
ParseResult<AnswerSetup> SetUpChat(const GenerationContext& context, const ModelInfo& model, ChatRequest request);
ParseResult<AnswerSetup> SetUpCompletion(const GenerationContext& context, const ModelInfo& model,
                                         const CompletionRequest& request);

}  // namespace lem
