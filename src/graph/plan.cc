#include "graph/plan.h"

#include <algorithm>

namespace lem {

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
