// From chat messages to the token ids of a prompt: template, then tokenizer, with the caller's text kept ordinary text.
#pragma once

#include <span>
#include <vector>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lem {

// Fills in bos_token and eos_token, renders and encodes. Errors: as ChatTemplate::RenderSpans.
Result<std::vector<TokenId>> EncodeChat(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                                        ChatTemplateInputs inputs);

// Control tokens are matched in trusted spans only. BOS is put first if the model wants one and the template has not
// printed it; EOS is never added.
std::vector<TokenId> EncodeRendered(const Tokenizer& tokenizer, std::span<const RenderedSpan> rendered);

}  // namespace lem
