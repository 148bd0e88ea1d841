#include "scheduler/cost/model_work.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace lem {
namespace {

// Layers' products that are joined when matrices are cut by rows: q, k and v at once, then the output; gate and up at
// once, then down (graph/slicer.h).
constexpr int kJoinsOfBlock = 2;
constexpr int kJoinsOfHead = 1;

// A part while its ops are counted.
class PartCount {
 public:
  PartCount(Part part, int num_joins) : work_{.part = part, .num_joins = num_joins} {}

  void Add(const Op& op, const Graph& graph, std::span<const WeightSize> weights) {
    for (const WeightSlot slot : OpWeights(op.body)) {
      const auto bytes = static_cast<double>(weights[static_cast<size_t>(slot)].bytes);
      work_.memory_bytes += bytes;
      // Of a table, a step reads only the rows of its tokens.
      if (!std::holds_alternative<EmbedOp>(op.body)) work_.weight_bytes += bytes;
    }
    if (const auto* linear = std::get_if<LinearOp>(&op.body)) {
      const WeightInfo& info = graph.weights[static_cast<size_t>(linear->weight)];
      const double flops = 2.0 * static_cast<double>(info.rows) * static_cast<double>(info.cols);
      work_.flops_per_row += flops;
      flops_of_format_[weights[static_cast<size_t>(linear->weight)].format] += flops;
    }
    if (const auto* attention = std::get_if<PagedAttentionOp>(&op.body)) {
      const auto cols = static_cast<double>(graph.values[static_cast<size_t>(attention->out)].cols);
      work_.flops_per_pair += 4 * cols;  // scores, and the weighted sum
      work_.kv_elements_per_token += 2.0 * static_cast<double>(graph.kv.num_kv_heads * graph.kv.head_dim);
      work_.window = static_cast<double>(attention->window);
    }
  }

  PartWork Finish() && {
    const auto most = std::ranges::max_element(flops_of_format_, {}, [](const auto& entry) { return entry.second; });
    if (most != flops_of_format_.end()) work_.weights = most->first;
    for (const auto& [format, flops] : flops_of_format_) {
      if (flops_of_format_.size() > 1) work_.formats.push_back({std::string(format), flops / work_.flops_per_row});
    }
    return std::move(work_);
  }

 private:
  PartWork work_;
  std::map<std::string_view, double> flops_of_format_;
};

double Matrix(int64_t rows, int64_t cols) { return static_cast<double>(rows) * static_cast<double>(cols); }

PartWork Dense(Part part, double parameters, double bits, const std::string& weights, int num_joins) {
  const double bytes = parameters * bits / 8;
  return {.part = part,
          .weights = weights,
          .weight_bytes = bytes,
          .memory_bytes = bytes,
          .flops_per_row = 2 * parameters,
          .num_joins = num_joins};
}

double AttentionParameters(const ModelShape& s) {
  return Matrix(s.hidden_size, (2 * s.num_heads + 2 * s.num_kv_heads) * s.head_dim);
}
double FeedForwardParameters(const ModelShape& s) { return 3 * Matrix(s.hidden_size, s.intermediate_size); }

PartWork FeedForwardOfShape(const ModelShape& s, const QuantBits& bits) {
  const double parameters = FeedForwardParameters(s);
  if (s.num_experts == 0) {
    return Dense(Part::kFeedForward, parameters, bits.feed_forward, bits.name, kJoinsOfBlock);
  }
  const double router = Matrix(s.hidden_size, s.num_experts);
  PartWork work = Dense(Part::kFeedForward, router, bits.feed_forward, bits.name, kJoinsOfBlock);
  work.num_experts = static_cast<double>(s.num_experts);
  work.active_experts = static_cast<double>(s.active_experts);
  work.expert_bytes = parameters * bits.experts / 8;
  work.memory_bytes += work.num_experts * work.expert_bytes;
  const double expert_flops = 2 * parameters * work.active_experts;
  work.flops_per_row += expert_flops;
  work.expert_flops_share = expert_flops / work.flops_per_row;
  return work;
}

}  // namespace

int32_t ModelWork::AddClass(PartWork work) {
  const auto found = std::ranges::find(classes, work);
  const auto idx = static_cast<int32_t>(found - classes.begin());
  if (found == classes.end()) classes.push_back(std::move(work));
  return idx;
}

std::vector<int32_t> ModelWork::AllParts() const {
  std::vector<int32_t> parts{embedding};
  for (size_t layer = 0; layer < attention.size(); ++layer) {
    parts.push_back(attention[layer]);
    parts.push_back(feed_forward[layer]);
  }
  parts.push_back(head);
  return parts;
}

double ModelWork::weight_memory_bytes() const {
  const auto of = [this](int32_t idx) { return idx == kNone ? 0 : classes[static_cast<size_t>(idx)].memory_bytes; };
  double bytes = of(embedding) + of(head);
  for (const int32_t idx : attention) bytes += of(idx);
  for (const int32_t idx : feed_forward) bytes += of(idx);
  return bytes;
}

void ModelWork::CountStepBytes() {
  step_bytes = 0;
  for (const int32_t idx : AllParts()) step_bytes += classes[static_cast<size_t>(idx)].weight_bytes;
}

double ModelWork::kv_elements_per_token() const {
  return std::accumulate(attention.begin(), attention.end(), 0.0, [this](double sum, int32_t idx) {
    return sum + classes[static_cast<size_t>(idx)].kv_elements_per_token;
  });
}

Result<ModelWork> WorkOfGraph(const Graph& graph, std::span<const WeightSize> weights) {
  if (weights.size() != graph.weights.size()) {
    return InvalidArgument("the graph has {} weights, and the sizes of {} are given", graph.weights.size(),
                           weights.size());
  }
  ModelWork model{.name = graph.architecture, .num_layers = graph.kv.num_layers};
  model.hidden_size = static_cast<double>(graph.hidden_size);
  model.vocab_size = static_cast<double>(graph.vocab_size);
  const auto num_layers = static_cast<size_t>(model.num_layers);
  std::vector<PartCount> attention(num_layers, PartCount(Part::kAttention, kJoinsOfBlock));
  std::vector<PartCount> feed_forward(num_layers, PartCount(Part::kFeedForward, kJoinsOfBlock));
  PartCount embedding(Part::kEmbedding, 0), head(Part::kHead, kJoinsOfHead);
  for (const Op& op : graph.ops) {
    const bool in_layer = op.part == Part::kAttention || op.part == Part::kFeedForward;
    if (in_layer && (op.layer < 0 || op.layer >= model.num_layers)) {
      return InvalidArgument("an op of the graph is in layer {}; it has layers 0 to {}", op.layer,
                             model.num_layers - 1);
    }
    PartCount& part = op.part == Part::kEmbedding   ? embedding
                      : op.part == Part::kHead      ? head
                      : op.part == Part::kAttention ? attention[static_cast<size_t>(op.layer)]
                                                    : feed_forward[static_cast<size_t>(op.layer)];
    part.Add(op, graph, weights);
  }
  model.embedding = model.AddClass(std::move(embedding).Finish());
  for (size_t layer = 0; layer < num_layers; ++layer) {
    model.attention.push_back(model.AddClass(std::move(attention[layer]).Finish()));
    model.feed_forward.push_back(model.AddClass(std::move(feed_forward[layer]).Finish()));
  }
  model.head = model.AddClass(std::move(head).Finish());
  model.CountStepBytes();
  return model;
}

double ModelShape::num_parameters() const {
  const double experts = static_cast<double>(std::max<int64_t>(num_experts, 1));
  const double embeddings = Matrix(vocab_size, hidden_size) * (tied_embeddings ? 1 : 2);
  return num_layers * (AttentionParameters(*this) + experts * FeedForwardParameters(*this)) + embeddings;
}

ModelWork WorkOfShape(const ModelShape& s, const QuantBits& bits) {
  ModelWork model{.name = s.name, .num_layers = s.num_layers};
  model.hidden_size = static_cast<double>(s.hidden_size);
  model.vocab_size = static_cast<double>(s.vocab_size);
  const double table = Matrix(s.vocab_size, s.hidden_size);
  PartWork embedding{.part = Part::kEmbedding, .weights = bits.name};
  if (!s.tied_embeddings) embedding.memory_bytes = table * bits.embedding / 8;
  model.embedding = model.AddClass(std::move(embedding));
  for (int32_t layer = 0; layer < s.num_layers; ++layer) {
    PartWork work = Dense(Part::kAttention, AttentionParameters(s), bits.attention, bits.name, kJoinsOfBlock);
    work.kv_elements_per_token = 2.0 * static_cast<double>(s.num_kv_heads * s.head_dim);
    work.flops_per_pair = 4.0 * static_cast<double>(s.num_heads * s.head_dim);
    const bool windowed = s.window_period > 0 && layer % s.window_period != s.window_period - 1;
    work.window = windowed ? static_cast<double>(s.window) : 0;
    model.attention.push_back(model.AddClass(std::move(work)));
    model.feed_forward.push_back(model.AddClass(FeedForwardOfShape(s, bits)));
  }
  model.head = model.AddClass(Dense(Part::kHead, table, bits.head, bits.name, kJoinsOfHead));
  model.CountStepBytes();
  return model;
}

}  // namespace lem
