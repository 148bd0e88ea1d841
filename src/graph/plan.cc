#include "graph/plan.h"

#include <algorithm>

namespace lem {

uint64_t PredictActivationBytes(const Graph& graph, const Plan& plan, int64_t num_tokens, int64_t num_outputs) {
  uint64_t bytes = 0;
  const auto add = [&](const std::vector<Transfer>& transfers) {
    for (const Transfer& transfer : transfers) {
      const Value& value = graph.values[static_cast<size_t>(transfer.value)];
      const int64_t rows = value.rows == Rows::kTokens ? num_tokens : num_outputs;
      bytes += static_cast<uint64_t>(rows * value.cols) * sizeof(float);
    }
  };
  for (const PlanStep& step : plan.steps) add(step.transfers);
  add(plan.last_transfers);
  return bytes;
}

SegmentBoundary FindBoundary(const Graph& graph, const Segment& segment) {
  std::vector<bool> written_here(graph.values.size(), false);
  std::vector<bool> read_elsewhere(graph.values.size(), false);
  read_elsewhere[static_cast<size_t>(graph.logits)] = true;
  SegmentBoundary boundary;
  for (int32_t i = 0; i < static_cast<int32_t>(graph.ops.size()); ++i) {
    const OpBody& body = graph.ops[static_cast<size_t>(i)].body;
    const bool inside = i >= segment.op_begin && i < segment.op_end;
    for (const ValueId in : OpInputs(body)) {
      const auto idx = static_cast<size_t>(in);
      if (!inside) {
        read_elsewhere[idx] = true;
      } else if (!written_here[idx] && std::ranges::find(boundary.inputs, in) == boundary.inputs.end()) {
        boundary.inputs.push_back(in);
      }
    }
    if (inside) written_here[static_cast<size_t>(OpOutput(body))] = true;
  }
  for (size_t i = 0; i < graph.values.size(); ++i) {
    if (written_here[i] && read_elsewhere[i]) boundary.outputs.push_back(static_cast<ValueId>(i));
  }
  return boundary;
}

}  // namespace lem
