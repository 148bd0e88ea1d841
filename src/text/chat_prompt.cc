#include "text/chat_prompt.h"

#include <utility>

namespace lem {

Result<std::vector<TokenId>> EncodeChat(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                                        ChatTemplateInputs inputs) {
  const auto name = [&](std::optional<TokenId> id) {
    return id ? tokenizer.TokenText(*id, SpecialTokens::kParse) : std::string();
  };
  inputs.bos_token = name(tokenizer.bos());
  inputs.eos_token = name(tokenizer.eos());
  LEM_ASSIGN_OR_RETURN(const std::vector<RenderedSpan> rendered, chat_template.RenderSpans(inputs));
  return EncodeRendered(tokenizer, rendered);
}

std::vector<TokenId> EncodeRendered(const Tokenizer& tokenizer, std::span<const RenderedSpan> rendered) {
  std::vector<TextSpan> spans;
  spans.reserve(rendered.size());
  for (const RenderedSpan& span : rendered) {
    spans.push_back({span.text, span.trusted ? SpecialTokens::kParse : SpecialTokens::kAsText});
  }
  std::vector<TokenId> ids = tokenizer.EncodeSpans(spans, AddSpecial::kNone);
  const std::optional<TokenId> bos = tokenizer.bos();
  if (tokenizer.adds_bos() && bos && (ids.empty() || ids.front() != *bos)) ids.insert(ids.begin(), *bos);
  return ids;
}

}  // namespace lem
