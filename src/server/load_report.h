// The server's load as gateways want it with an answer: the header endpoint-load-metrics of ORCA, sent when the request
// asks for it by endpoint-load-metrics-format (TEXT or JSON).
#pragma once

#include <string>

#include "http/message.h"
#include "runtime/inference_service.h"

namespace lem {

// The header's value, or "" if the request does not ask for it or for a form that is not known.
std::string LoadReport(const http::Request& request, const InferenceService& service);

// Of the blocks for keys and values, 0 to 1.
double KvCacheUsage(const ServiceStats& stats);

}  // namespace lem
