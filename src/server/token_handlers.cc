#include "server/token_handlers.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "api/openai/tokens.h"
#include "server/error_mapping.h"

namespace lem {

void TokenHandlers::AddRoutes(http::Router& router) {
  const auto add = [&](const std::string& path,
                       ParseResult<std::string> (TokenHandlers::*handle)(std::string_view) const) {
    router.Add("POST", path, [this, handle](const http::Request& request) {
      const auto answer = (this->*handle)(request.body);
      return answer ? http::Response::Json(200, *answer)
                    : ErrorResponse(answer.error(), kOpenAiErrors, request.request_id);
    });
  };
  for (const std::string prefix : {"/v1", ""}) {
    add(prefix + "/tokenize", &TokenHandlers::Tokenize);
    add(prefix + "/detokenize", &TokenHandlers::Detokenize);
  }
}

ParseResult<std::string> TokenHandlers::Tokenize(std::string_view body) const {
  auto request = ParseBody(body, openai::ParseTokenizeRequest);
  if (!request) return tl::unexpected(request.error());
  const auto model = FindReadyModel(context_.service, request->model);
  if (!model) return tl::unexpected(model.error());
  const Tokenizer& tokenizer = *model->tokenizer;
  std::vector<TokenId> ids;
  if (request->chat) {
    auto encoded = EncodeChatPrompt(*model, *std::move(request->chat));
    if (!encoded) return tl::unexpected(encoded.error());
    ids = *std::move(encoded);
  } else {
    ids = tokenizer.Encode(request->text, request->parse_special ? SpecialTokens::kParse : SpecialTokens::kAsText,
                           request->add_special ? AddSpecial::kModelDefault : AddSpecial::kNone);
  }
  std::vector<openai::TokenPiece> tokens;
  tokens.reserve(ids.size());
  for (const TokenId id : ids) {
    tokens.push_back({id, request->with_pieces ? tokenizer.TokenText(id, SpecialTokens::kParse) : ""});
  }
  return openai::WriteTokens(tokens, request->with_pieces, model->context_length);
}

ParseResult<std::string> TokenHandlers::Detokenize(std::string_view body) const {
  const auto request = ParseBody(body, openai::ParseDetokenizeRequest);
  if (!request) return tl::unexpected(request.error());
  const auto model = FindReadyModel(context_.service, request->model);
  if (!model) return tl::unexpected(model.error());
  for (size_t i = 0; i < request->tokens.size(); ++i) {
    if (request->tokens[i] < model->tokenizer->vocab_size()) continue;
    return tl::unexpected(
        RequestError{InvalidArgument("tokens[{}] is {}; the tokens of model '{}' are 0 to {}", i, request->tokens[i],
                                     model->id, model->tokenizer->vocab_size() - 1),
                     fmt::format("tokens[{}]", i), "invalid_value"});
  }
  return openai::WriteDetokenized(model->tokenizer->Decode(request->tokens, SpecialTokens::kParse));
}

}  // namespace lem
