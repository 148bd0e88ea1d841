#include "server/fill_in_the_middle.h"

#include <array>

namespace lem {
namespace {

// Control tokens before the first text, before the second one, and before the answer.
struct Form {
  std::string_view before, after, middle;
};
constexpr std::array<Form, 4> kForms = {{
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},  // Qwen, CodeGemma
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},        // StarCoder
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},        // SantaCoder
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},  // DeepSeek
}};

struct FormTokens {
  TokenId before, after, middle;
};

std::optional<FormTokens> FindForm(const Tokenizer& tokenizer) {
  for (const Form& form : kForms) {
    const auto before = tokenizer.Find(form.before);
    const auto after = tokenizer.Find(form.after);
    const auto middle = tokenizer.Find(form.middle);
    if (before && after && middle) return FormTokens{*before, *after, *middle};
  }
  return std::nullopt;
}

}  // namespace

bool CanFillIn(const Tokenizer& tokenizer) { return FindForm(tokenizer).has_value(); }

std::optional<std::vector<TokenId>> EncodeFillIn(const Tokenizer& tokenizer, std::string_view before,
                                                 std::string_view after) {
  const auto form = FindForm(tokenizer);
  if (!form) return std::nullopt;
  std::vector<TokenId> tokens;
  if (tokenizer.adds_bos() && tokenizer.bos()) tokens.push_back(*tokenizer.bos());
  const auto add = [&](TokenId control, std::string_view text) {
    tokens.push_back(control);
    const auto ids = tokenizer.Encode(text, SpecialTokens::kAsText, AddSpecial::kNone);
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  };
  add(form->before, before);
  add(form->after, after);
  tokens.push_back(form->middle);
  return tokens;
}

}  // namespace lem
