// A model as work: for each of its parts, the bytes and operations of a step as functions of rows and context. From the
// graph of a loaded model, or from the published sizes of one that is not there.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "graph/graph.h"

namespace lem {

// Products whose weights have one format, as a share of a part's.
struct FormatShare {
  std::string weights;
  double share = 1;  // of flops_per_row
  bool operator==(const FormatShare&) const = default;
};

// One part of a layer, the embedding, or the head. Products are counted as multiplications and additions (2 a MAC).
struct PartWork {
  Part part = Part::kEmbedding;
  std::string weights;               // format of most of them: "Q4_K"
  std::vector<FormatShare> formats;  // of all of them, if there are several
  double weight_bytes = 0;           // that every step reads (experts are extra)
  double memory_bytes = 0;           // of all its weights, experts and tables included
  double flops_per_row = 0;          // products, of the experts that work on a row
  int num_joins = 0;                 // products after which halves cut by rows are joined

  double expert_bytes = 0;        // of one expert
  double expert_flops_share = 0;  // of flops_per_row
  double num_experts = 0, active_experts = 0;

  double kv_elements_per_token = 0;  // keys and values that a token leaves in this layer
  double flops_per_pair = 0;         // attention of one row to one earlier token
  double window = 0;                 // tokens that it looks back at; 0 = all

  bool operator==(const PartWork&) const = default;
};

// The parts in the order in which they run: embedding, (attention, feed-forward) x layers, head. Equal layers share
// one PartWork.
struct ModelWork {
  std::string name;
  int32_t num_layers = 0;
  double hidden_size = 0;
  double vocab_size = 0;
  double step_bytes = 0;  // of weights that every step reads: what must lie in a cache for the next to find it there
  std::vector<PartWork> classes;
  int32_t embedding = kNone, head = kNone;       // indices into classes
  std::vector<int32_t> attention, feed_forward;  // [num_layers] indices into classes

  // Index of this class, added if it is new.
  int32_t AddClass(PartWork work);
  // Of every part of the model, in the order in which they run.
  std::vector<int32_t> AllParts() const;
  double weight_memory_bytes() const;
  double kv_elements_per_token() const;
  // Sets step_bytes. REQUIRES: every part is there.
  void CountStepBytes();
  // Bytes of a row that passes from part to part.
  double row_bytes() const { return hidden_size * 4; }
};

// One weight of a graph as it lies in memory.
struct WeightSize {
  uint64_t bytes = 0;
  std::string_view format;  // "Q4_K"
};

// weights[slot]: those of the graph. A part's format is that of most of its products. Errors: InvalidArgument (a graph
// that is not a chain of layers with attention and feed-forward parts).
Result<ModelWork> WorkOfGraph(const Graph& graph, std::span<const WeightSize> weights);

// Bits a weight, scales included, by where it lies in the model.
struct QuantBits {
  std::string name;  // "Q4_K_M"
  double attention = 16, feed_forward = 16, experts = 16, embedding = 16, head = 16;
};

// Published sizes of a model. With experts, `intermediate_size` is of one.
struct ModelShape {
  std::string name;
  int32_t num_layers = 0;
  int64_t hidden_size = 0, intermediate_size = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0, vocab_size = 0;
  bool tied_embeddings = false;
  int64_t num_experts = 0, active_experts = 0;
  int64_t window = 0;         // of all layers but every window_period-th
  int64_t window_period = 0;  // 0 = no windows

  double num_parameters() const;
};
ModelWork WorkOfShape(const ModelShape& shape, const QuantBits& bits);

}  // namespace lem
