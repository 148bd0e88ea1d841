#include "device/npu/llm_prediction.h"

#include <algorithm>

#include "device/npu/compiler/static_graph.h"

namespace lem {
namespace {

// Sizes of a published model. With experts: `ffn` is of one expert, `active_experts` of them work on a token.
struct LlmShape {
  std::string_view name;
  int64_t layers, hidden, ffn, heads, kv_heads, head_dim, vocab;
  int64_t active_experts = 1;
  int64_t window = 0;  // of every second layer
};
constexpr LlmShape kShapes[] = {
    {"Llama-3.1-8B", 32, 4096, 14336, 32, 8, 128, 128256},
    {"Llama-3.2-3B", 28, 3072, 8192, 24, 8, 128, 128256},
    {"Llama-3.2-1B", 16, 2048, 8192, 32, 8, 64, 128256},
    {"gpt-oss-20b", 24, 2880, 2880, 64, 8, 64, 201088, 4, 128},
    {"Qwen3-0.6B", 28, 1024, 3072, 16, 8, 128, 151936},
    {"Qwen3-1.7B", 28, 2048, 6144, 16, 8, 128, 151936},
    {"Qwen3-4B", 36, 2560, 9728, 32, 8, 128, 151936},
    {"Qwen3-8B", 36, 4096, 12288, 32, 8, 128, 151936},
    {"Gemma3-1B", 26, 1152, 6912, 4, 1, 256, 262144, 1, 512},
    {"Gemma3-4B", 34, 2560, 10240, 8, 4, 256, 262144, 1, 1024},
};

// Habits of the published stack (FastFlowLM on XDNA 2), from its own documentation and from what its speeds tell.
constexpr int64_t kWeightBits = 5;  // 4 bits and their scales
constexpr int64_t kKvBits = 8;
constexpr int64_t kPrefillChunk = 512;
// Prefill goes layer by layer over the whole prompt with a design of the array of its own for each of: projections,
// attention, the way up and the way down of the feed-forward block.
constexpr int64_t kPrefillDesignsPerLayer = 4;

// A decoder of the llama family. Mixtures of experts are laid out as the experts that work on one token.
Graph BuildGraph(const LlmShape& shape) {
  GraphBuilder b("llama");
  const auto weight = [&](const char* name, int64_t layer, int64_t rows, int64_t cols) {
    return b.Weight(fmt::format("{}.{}", name, layer), rows, cols);
  };
  const int32_t rope = b.Rope({.rotary_dim = shape.head_dim});
  ValueId x = b.Embed(b.Weight("embed", shape.vocab, shape.hidden), 1.0f);
  const int64_t q_cols = shape.heads * shape.head_dim, kv_cols = shape.kv_heads * shape.head_dim;
  for (int32_t layer = 0; layer < shape.layers; ++layer) {
    b.Enter(Part::kAttention, layer);
    const ValueId in = b.RmsNorm(x, weight("norm", layer, 1, shape.hidden), 1e-5f);
    const ValueId q = b.Rope(b.Linear(in, weight("q", layer, q_cols, shape.hidden)), rope, shape.head_dim);
    const ValueId k = b.Rope(b.Linear(in, weight("k", layer, kv_cols, shape.hidden)), rope, shape.head_dim);
    const ValueId v = b.Linear(in, weight("v", layer, kv_cols, shape.hidden));
    const int64_t window = layer % 2 == 0 ? shape.window : 0;
    const ValueId mixed = b.PagedAttention(q, k, v, layer, shape.heads, 1.0f, window);
    x = b.Add(x, b.Linear(mixed, weight("o", layer, shape.hidden, q_cols)));
    b.Enter(Part::kFeedForward, layer);
    const ValueId up_in = b.RmsNorm(x, weight("ffn_norm", layer, 1, shape.hidden), 1e-5f);
    const int64_t ffn = shape.ffn * shape.active_experts;
    const ValueId gate = b.Linear(up_in, weight("gate", layer, ffn, shape.hidden));
    const ValueId up = b.Linear(up_in, weight("up", layer, ffn, shape.hidden));
    const ValueId glu = b.Glu(gate, up, Activation::kSilu);
    x = b.Add(x, b.Linear(glu, weight("down", layer, shape.hidden, ffn)));
  }
  b.Enter(Part::kHead);
  const ValueId last = b.SelectOutputs(b.RmsNorm(x, b.Weight("last_norm", 1, shape.hidden), 1e-5f));
  const ValueId logits = b.Linear(last, b.Weight("head", shape.vocab, shape.hidden));
  return b.Finish(logits, {static_cast<int32_t>(shape.layers), shape.kv_heads, shape.head_dim});
}

Result<const LlmShape*> FindShape(std::string_view model) {
  const auto* const shape = std::ranges::find(kShapes, model, &LlmShape::name);
  if (shape == std::end(kShapes)) return NotFound("the sizes of model '{}' are not known here", model);
  return shape;
}

Result<StaticGraph> Lay(const NpuGeneration& generation, const Graph& graph, int64_t tokens, int64_t outputs) {
  const StaticGraphOptions options{
      .compile = {.mode = NpuPrecisionMode::kBf16}, .weight_bits = kWeightBits, .kv_bits = kKvBits};
  return PlanStaticGraph(generation, graph, {0, static_cast<int32_t>(graph.ops.size())}, tokens, outputs, options);
}

}  // namespace

Result<Graph> GraphOfPublishedModel(std::string_view model) {
  LEM_ASSIGN_OR_RETURN(const LlmShape* shape, FindShape(model));
  return BuildGraph(*shape);
}

Result<LlmPrediction> PredictLlm(const PublishedLlm& point) {
  LEM_ASSIGN_OR_RETURN(const LlmShape* shape, FindShape(point.model));
  LEM_ASSIGN_OR_RETURN(const NpuGeneration* g, FindNpuGeneration("xdna2"));
  const Graph graph = BuildGraph(*shape);
  NpuCost total;
  double tokens = 1;
  if (point.phase == "decode") {
    LEM_ASSIGN_OR_RETURN(const StaticGraph step, Lay(*g, graph, 1, 1));
    const StaticGraph::Load load{1, point.context};
    total = step.Cost(*g, {&load, 1});
    total.seconds += g->dispatch_s;
    // Which experts work is known only when the router has run: the host reads it, writes descriptors for each of their
    // three matrices, and dispatches the rest of the layer.
    if (shape->active_experts > 1) {
      total.seconds += static_cast<double>(shape->layers) *
                       (g->dispatch_s + static_cast<double>(3 * shape->active_experts) * g->descriptor_reprogram_s);
    }
  } else {
    tokens = static_cast<double>(point.context);
    for (int64_t begin = 0; begin < point.context; begin += kPrefillChunk) {
      const int64_t rows = std::min(kPrefillChunk, point.context - begin);
      const bool last = begin + rows == point.context;
      LEM_ASSIGN_OR_RETURN(const StaticGraph chunk, Lay(*g, graph, kPrefillChunk, last ? 1 : 0));
      const StaticGraph::Load load{rows, begin + rows};
      total += chunk.Cost(*g, {&load, 1});
      total.seconds += g->dispatch_s;
    }
    total.seconds += static_cast<double>(shape->layers * kPrefillDesignsPerLayer) * g->reconfiguration_s;
  }
  return LlmPrediction{tokens / total.seconds, total.joules / total.seconds};
}

}  // namespace lem
