// The parameters that ask for an answer of a certain form: response_format, and what other servers have for it.
#pragma once

#include "api/openai/parameters.h"
#include "api/text_request.h"

namespace lem::openai {

// What is wrong with the schema, pattern or grammar itself is found when it is compiled, not here.
OutputForm ReadOutputForm(ParameterFields& fields);

}  // namespace lem::openai
