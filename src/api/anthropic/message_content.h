// Reads `system` and `messages` of Anthropic's Messages API into the messages of a chat template.
#pragma once

#include "api/json_fields.h"
#include "api/text_request.h"

namespace lem::anthropic {

// In order: the system prompt, then each message. A user's tool results become messages of the role "tool"; an
// assistant's last message is taken out as the beginning of the answer.
void ReadConversation(JsonFields& fields, ChatRequest& chat);

}  // namespace lem::anthropic
