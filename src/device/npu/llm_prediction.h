// Predicts the speed of published language-model stacks on an NPU by the emulator's cost model: the model's graph is
// laid out as ours are, with the stack's formats and habits. For comparison with published numbers; nothing runs.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "device/npu/published_points.h"
#include "graph/graph.h"

namespace lem {

struct LlmPrediction {
  double tokens_per_s = 0;
  double rail_w = 0;  // mean power of the NPU's own rail, modelled
};

// A published model as a graph without weights. Errors: NotFound (an unknown model, named).
Result<Graph> GraphOfPublishedModel(std::string_view model);

// Of a point that names its model ("Llama-3.2-1B"), phase and context. Errors: NotFound (an unknown model, named).
Result<LlmPrediction> PredictLlm(const PublishedLlm& point);

}  // namespace lem
