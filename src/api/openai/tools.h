// The parameters about tools of chat completions: tools, tool_choice, parallel_tool_calls.
#pragma once

#include "api/openai/parameters.h"
#include "api/text_request.h"
#include "api/tool_name.h"

namespace lem::openai {

// Fills in tools (none if tool_choice is "none"), tool_choice and parallel_tool_calls.
void ReadTools(ParameterFields& fields, ChatRequest& request);

}  // namespace lem::openai
