// Prompts that ask a model for what belongs between two texts, in the form that the control tokens of its vocabulary
// show. Pure functions.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace lem {

// True for models that were trained for it.
bool CanFillIn(const Tokenizer& tokenizer);

// nullopt for models that cannot. Texts never become control tokens.
std::optional<std::vector<TokenId>> EncodeFillIn(const Tokenizer& tokenizer, std::string_view before,
                                                 std::string_view after);

}  // namespace lem
