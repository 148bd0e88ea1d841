#include "api/openai/tokens.h"

#include <fmt/format.h>

#include <limits>

#include "api/json_fields.h"
#include "api/openai/chat_request.h"

namespace lem::openai {
namespace {

constexpr int64_t kMaxToken = std::numeric_limits<int32_t>::max();

tl::unexpected<RequestError> NotAnObject(const JsonValue& body, std::string_view members) {
  return tl::unexpected(RequestError{
      InvalidArgument("the body is {}; allowed: an object with {}", JsonKindName(body), members), "", "invalid_type"});
}

}  // namespace

ParseResult<TokenizeRequest> ParseTokenizeRequest(const JsonValue& body) {
  if (!body.is_object()) return NotAnObject(body, "content");
  FirstError error;
  JsonFields fields(body.get_object(), "", error);
  TokenizeRequest request;
  request.model = fields.String("model").value_or("");
  if (fields.Find("messages") != nullptr) {
    JsonObject chat = body.get_object();
    if (request.model.empty()) chat["model"] = "any";  // which one follows later
    auto parsed = ParseChatRequest(JsonValue(std::move(chat)));
    if (!parsed) return tl::unexpected(parsed.error());
    request.chat = *std::move(parsed);
  } else {
    const auto content = fields.String("content");
    const auto prompt = fields.String("prompt");
    if (!content && !prompt) fields.FailMissing("content", "a string");
    request.text = content ? *content : prompt.value_or("");
  }
  for (const std::string_view name : {"add_special", "add_special_tokens"}) {
    if (const auto add = fields.Boolean(name)) request.add_special = *add;
  }
  request.parse_special = fields.Boolean("parse_special").value_or(false);
  for (const std::string_view name : {"with_pieces", "return_token_strs"}) {
    if (fields.Boolean(name).value_or(false)) request.with_pieces = true;
  }
  if (!error.ok()) return tl::unexpected(error.Take());
  return request;
}

ParseResult<DetokenizeRequest> ParseDetokenizeRequest(const JsonValue& body) {
  if (!body.is_object()) return NotAnObject(body, "tokens");
  FirstError error;
  JsonFields fields(body.get_object(), "", error);
  DetokenizeRequest request;
  request.model = fields.String("model").value_or("");
  const JsonArray* tokens = fields.Array("tokens");
  if (tokens == nullptr) fields.FailMissing("tokens", "an array of token ids");
  for (size_t i = 0; tokens != nullptr && i < tokens->size() && error.ok(); ++i) {
    const auto id = ReadInteger((*tokens)[i], {0, kMaxToken}, fmt::format("tokens[{}]", i), error);
    request.tokens.push_back(static_cast<TokenId>(id.value_or(0)));
  }
  if (!error.ok()) return tl::unexpected(error.Take());
  return request;
}

std::string WriteTokens(std::span<const TokenPiece> tokens, bool with_pieces, int32_t context_length) {
  JsonWriter writer;
  writer.BeginObject().Key("tokens").BeginArray();
  for (const TokenPiece& token : tokens) {
    if (with_pieces) {
      writer.BeginObject().Key("id").Int(token.id).Key("piece").String(token.piece).EndObject();
    } else {
      writer.Int(token.id);
    }
  }
  writer.EndArray().Key("count").UInt(tokens.size()).Key("max_model_len").Int(context_length);
  if (with_pieces) {
    writer.Key("token_strs").BeginArray();
    for (const TokenPiece& token : tokens) writer.String(token.piece);
    writer.EndArray();
  }
  writer.EndObject();
  return writer.Take();
}

std::string WriteDetokenized(std::string_view text) {
  JsonWriter writer;
  writer.BeginObject().Key("content").String(text).Key("prompt").String(text).EndObject();
  return writer.Take();
}

}  // namespace lem::openai
