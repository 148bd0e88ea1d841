// A static graph in the words of the plug-in's interface.
//
// A segment becomes up to two graphs, since ops work either on the rows of a step's tokens or on those whose logits are
// asked for: so a head is not compiled again for every context, and a prompt's chunks that want no logits do without
// it. Embeddings and the choice of rows between the two graphs are done by the driver.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "device/npu/compiler/static_graph.h"
#include "device/npu/openvino/openvino_runtime_abi.h"

namespace lem {

// What of a segment works on the rows of one kind.
struct OpenVinoPart {
  Rows rows = Rows::kTokens;
  std::vector<int32_t> ops;         // of the model's graph, none for a part that is not there
  std::vector<ValueId> inputs;      // read, and written outside the part
  std::vector<ValueId> outputs;     // written, and read outside the part or stored as keys and values
  std::vector<int32_t> ropes;       // of the model, in use
  std::vector<int32_t> attentions;  // of `ops`
  std::vector<int64_t> windows;     // of the attentions, each once: one mask and one gathering each
  std::vector<size_t> window_of;    // [attentions] index into windows
};
OpenVinoPart MakeOpenVinoPart(const Graph& model, const Segment& segment, Rows rows);

// A weight as the graph takes it, by slot; of linear ops a matrix, else a vector of float32.
using OpenVinoWeightOf = std::function<openvino::Weight(WeightSlot slot, bool is_matrix)>;

// The graph with all that it points to. Not copyable: it points into itself.
class OpenVinoDescription {
 public:
  // `graph`: of the part's segment. `context`: positions of the past, of parts with attention.
  OpenVinoDescription(const StaticGraph& graph, const OpenVinoPart& part, int64_t context,
                      const OpenVinoWeightOf& weight_of);
  OpenVinoDescription(const OpenVinoDescription&) = delete;
  OpenVinoDescription& operator=(const OpenVinoDescription&) = delete;

  const openvino::Graph& view() const { return view_; }

 private:
  int32_t AddWeight(WeightSlot slot, bool is_matrix);
  void Describe(const OpenVinoPart& part, const OpBody& body, openvino::Op& op);

  const OpenVinoWeightOf& weight_of_;
  std::string name_;
  std::vector<int64_t> cols_;
  std::vector<openvino::Weight> weights_;
  std::vector<openvino::Rope> ropes_;
  std::vector<openvino::Op> ops_;
  std::vector<std::vector<int32_t>> op_inputs_;
  std::vector<size_t> window_of_;  // of attentions yet to come, the next one last
  openvino::Graph view_{};
};

}  // namespace lem
