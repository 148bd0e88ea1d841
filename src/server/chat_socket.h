// Chat completions over a WebSocket: each text message of the client is a body of POST /v1/chat/completions; the
// answer's chunks come as messages, and then "[DONE]". Several answers may be under way at once.
//
// A body may have a "request_id" of its own; every object of its answer then has it too. {"type": "cancel", "id": ID}
// ends the answer with that request_id or chunk id; without an id, all of them. What is refused gets an error object
// and the socket stays open.
#pragma once

#include <memory>

#include "http/router.h"
#include "server/handler_context.h"

namespace lem {

// The context must outlive all sockets.
http::WebSocketHandler MakeChatSocketHandler(const HandlerContext& context);

}  // namespace lem
