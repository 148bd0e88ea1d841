// Server-sent events (WHATWG HTML, 9.2) as text for an EventStream:
//   auto stream = responder.StartStream(200, SseHeaders());
//   stream->Write(SseEvent(json)); ... stream->Write(SseEvent("[DONE]")); stream->Finish();
#pragma once

#include <string>
#include <string_view>

#include "http/message.h"

namespace lem::http {

// Content type, and the fields that keep proxies from caching and buffering.
Headers SseHeaders();

// "event: name\ndata: ...\n\n"; the event line only if `event` is not empty. Each line of `data` gets its own data
// field.
std::string SseEvent(std::string_view data, std::string_view event = {});

// ": text\n\n", which clients ignore: keeps a quiet connection alive. REQUIRES: no line break in `text`.
std::string SseComment(std::string_view text);

}  // namespace lem::http
