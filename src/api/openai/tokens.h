// POST /tokenize and /detokenize, which OpenAI's API has not: fields and answers as llama.cpp and vLLM have them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/request_error.h"
#include "api/text_request.h"

namespace lem::openai {

struct TokenizeRequest {
  std::string model;  // empty = the only one, or the first
  std::string text;   // of `content` or `prompt`; unless `chat` is set
  std::optional<ChatRequest> chat;
  bool add_special = true;
  bool parse_special = false;
  bool with_pieces = false;  // with_pieces or return_token_strs
};
ParseResult<TokenizeRequest> ParseTokenizeRequest(const JsonValue& body);

struct DetokenizeRequest {
  std::string model;
  std::vector<TokenId> tokens;
};
ParseResult<DetokenizeRequest> ParseDetokenizeRequest(const JsonValue& body);

struct TokenPiece {
  TokenId id = 0;
  std::string piece;
};
// With pieces, `tokens` are objects and `token_strs` texts; bytes that are no UTF-8 are shown as U+FFFD.
std::string WriteTokens(std::span<const TokenPiece> tokens, bool with_pieces, int32_t context_length);
std::string WriteDetokenized(std::string_view text);

}  // namespace lem::openai
