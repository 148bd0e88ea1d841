// What requests have in common, read from their JSON.
#pragma once

#include "api/openai/parameters.h"
#include "api/text_request.h"

namespace lem::openai {

// Reads model, sampling, stop and streaming; refuses parameters that are known and not supported.
RequestOptions ReadCommonOptions(ParameterFields& fields);

// The same, with what chat completions and completions have: n, max_tokens, and the form of the answer.
RequestOptions ReadSharedOptions(ParameterFields& fields);

}  // namespace lem::openai
