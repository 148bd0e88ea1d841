// How urgent a request is and for whom it is, as its headers say.
#pragma once

#include <string>

#include "api/request_error.h"
#include "http/message.h"
#include "request/request.h"

namespace lem {

struct Urgency {
  Priority priority = Priority::kInteractive;
  double ttft_target_ms = 0, tpot_target_ms = 0;  // as GenerateRequest has them
  std::string tenant;                             // made from what the client authenticates with; empty = nothing
};

// x-lem-priority: interactive, batch or background; x-llm-d-slo-ttft-ms and x-llm-d-slo-tpot-ms: milliseconds to the
// first token and between tokens. Errors: InvalidArgument naming the header, its value, and what is allowed.
ParseResult<Urgency> ReadUrgency(const http::Request& request);

void SetUrgency(const Urgency& urgency, GenerateRequest& request);

}  // namespace lem
