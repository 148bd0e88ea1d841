// Tools for models whose template does not know them: the schemas go into the system message, calls and results into
// the text of messages, in the form of Hermes. Pure functions.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "text/chat_template.h"

namespace lem {

// `support` says what the template shows by itself, and that is left alone.
std::vector<ChatMessage> WithGenericTools(std::vector<ChatMessage> messages, const JsonArray& tools,
                                          ChatTemplate::ToolSupport support);

}  // namespace lem
