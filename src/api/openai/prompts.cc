#include "api/openai/prompts.h"

#include <fmt/format.h>

#include <limits>

namespace lem::openai {
namespace {

constexpr std::string_view kPromptForms =
    "a string, an array of strings, an array of token ids, or an array of arrays of token ids";

Prompt ReadTokens(const JsonArray& ids, const std::string& path, FirstError& error) {
  std::vector<TokenId> tokens;
  tokens.reserve(ids.size());
  for (size_t i = 0; i < ids.size() && error.ok(); ++i) {
    constexpr IntegerRange kRange{0, std::numeric_limits<TokenId>::max()};
    tokens.push_back(
        static_cast<TokenId>(ReadInteger(ids[i], kRange, fmt::format("{}[{}]", path, i), error).value_or(0)));
  }
  return tokens;
}

}  // namespace

std::vector<Prompt> ReadPrompts(JsonFields& fields, std::string_view name) {
  const JsonValue* value = fields.Find(name);
  if (value == nullptr) {
    fields.FailMissing(name, kPromptForms);
    return {};
  }
  if (const auto* text = value->if_string()) return {Prompt(std::string(text->data(), text->size()))};
  const auto* list = value->if_array();
  if (list == nullptr) {
    fields.FailType(name, *value, kPromptForms);
    return {};
  }
  if (list->empty()) {
    fields.Fail(name, "empty_array", fmt::format("{} is an empty array; at least one token or string is needed", name));
    return {};
  }
  if (list->front().is_number()) return {ReadTokens(*list, fields.PathOf(name), fields.error())};
  std::vector<Prompt> prompts;
  for (size_t i = 0; i < list->size() && fields.error().ok(); ++i) {
    const JsonValue& item = (*list)[i];
    const std::string path = fmt::format("{}[{}]", fields.PathOf(name), i);
    if (item.kind() != list->front().kind() || (!item.is_string() && !item.is_array())) {
      fields.Fail(path, "invalid_type", fmt::format("{} is {}; allowed: {}", path, JsonExcerpt(item), kPromptForms));
    } else if (const auto* text = item.if_string()) {
      prompts.emplace_back(std::string(text->data(), text->size()));
    } else {
      prompts.push_back(ReadTokens(item.get_array(), path, fields.error()));
    }
  }
  return prompts;
}

}  // namespace lem::openai
