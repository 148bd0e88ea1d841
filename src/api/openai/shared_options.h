// What chat completions and completions have in common, read from the request's JSON.
#pragma once

#include "api/openai/parameters.h"
#include "api/text_request.h"

namespace lem::openai {

// Reads model, sampling, stop, n and streaming; refuses parameters that are known and not supported.
RequestOptions ReadSharedOptions(ParameterFields& fields);

}  // namespace lem::openai
