// Texts that models read, in the four forms that OpenAI's API has for them.
#pragma once

#include <string_view>
#include <vector>

#include "api/json_fields.h"
#include "api/text_request.h"

namespace lem::openai {

// The field `name`: a string, an array of strings, an array of token ids, or an array of arrays of token ids. At least
// one, if there is no error.
std::vector<Prompt> ReadPrompts(JsonFields& fields, std::string_view name);

}  // namespace lem::openai
