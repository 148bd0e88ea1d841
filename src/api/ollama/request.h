// Reads the requests of Ollama's own API. Pure functions.
//
// Options and fields that are not known are tolerated, as Ollama does it; a known one of the wrong type is refused.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "api/request_error.h"
#include "api/text_request.h"

namespace lem::ollama {

// What there is to do for a chat or a generation.
struct Request {
  enum class Kind {
    kLoad,    // no prompt: the model shall be there
    kUnload,  // the same with keep_alive 0
    kChat,    // `chat`
    kText,    // `text`: the prompt as it is
  };
  Kind kind = Kind::kLoad;
  std::string model;
  bool stream = true;
  std::optional<bool> think;                       // asked for, or asked not to
  std::optional<std::chrono::seconds> keep_alive;  // how long the model stays without requests; negative = for ever
  ChatRequest chat;
  CompletionRequest text;
};

// The body of /api/chat and of /api/generate.
ParseResult<Request> ParseChat(const JsonValue& body);
ParseResult<Request> ParseGenerate(const JsonValue& body);

// The bodies of /api/embed and of /api/embeddings.
struct EmbedRequest {
  std::string model;
  std::vector<Prompt> inputs;  // none: nothing is to be computed
  bool truncate = true;        // inputs that are longer than the context, at their end
  int32_t dimensions = 0;      // 0 = all
  std::optional<std::chrono::seconds> keep_alive;
  bool is_single = false;  // /api/embeddings, which answers with one vector
};
ParseResult<EmbedRequest> ParseEmbed(const JsonValue& body);
ParseResult<EmbedRequest> ParseEmbeddings(const JsonValue& body);

// Bodies that name a model: /api/show, /api/pull, /api/delete.
struct NamedModel {
  std::string name;
  bool stream = true;  // of progress
};
ParseResult<NamedModel> ParseNamedModel(const JsonValue& body);

}  // namespace lem::ollama
