// What requests have in common, read from their JSON.
#pragma once

#include "api/openai/parameters.h"
#include "api/text_request.h"

namespace lem::openai {

// Reads model, sampling, stop and streaming; refuses parameters that are known and not supported, and wrong types of
// those that are known and change nothing here.
RequestOptions ReadCommonOptions(ParameterFields& fields);

// The same, with what chat completions and completions have: n, max_tokens, and the form of the answer.
RequestOptions ReadSharedOptions(ParameterFields& fields);

// How much a model is to reason: the field `name`, for the template. Returns it, or "".
std::string ReadEffort(JsonFields& fields, std::string_view name, JsonObject& template_arguments);

}  // namespace lem::openai
