// The conversation of `lem run` on a terminal: line editing with history, /commands, Ctrl-C stops the answer only.
#pragma once

#include <string>

#include "apps/lem/chat_session.h"

namespace lem {

// Until /bye or end of input. Errors in answers are shown and the conversation goes on.
Status RunRepl(ChatSession& session);

// "36 prompt tokens at 612.4 tokens/s, 97 answer tokens at 88.1 tokens/s".
std::string DescribeSpeed(const Usage& usage);

}  // namespace lem
