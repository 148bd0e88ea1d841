// How plans and the devices' timelines look on the wire.
#pragma once

#include <span>
#include <string>

#include "runtime/inference_service.h"

namespace lem {

// The header x-lem-plan: a list (RFC 8941) of plan ids, one for each choice, with what was decided.
std::string PlanHeader(std::span<const PlanSummary> plans);

// {"plans":[...],"routes":[...],"predictions":[...]}
std::string PlansJson(const InferenceService& service);

// Chrome's trace format, for chrome://tracing and Perfetto: a process for what was measured and one for what was
// predicted, a thread for each device. A predicted span begins where the measured one does.
std::string ChromeTraceJson(std::span<const TraceSpan> spans);

}  // namespace lem
