// A language model as it comes out of a file: its configuration, graph, weights, tokeniser and chat template.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "formats/gguf.h"
#include "graph/graph.h"
#include "memory/weight_table.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lem {

// Sizes and constants that the supported architectures share, read from a file's metadata and checked.
struct ModelConfig {
  std::string architecture;  // general.architecture: "llama", "qwen2", "gemma3"
  std::string name;          // general.name
  int32_t num_layers = 0;
  int64_t context_length = 0;  // the model was trained for
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  float rms_norm_eps = 1e-5f;
  int64_t rotary_dim = 0;
  double rope_theta = 10000.0;
  double rope_scale = 1.0;            // divides positions (linear scaling)
  double rope_theta_local = 10000.0;  // of sliding-window layers (gemma3)
  int64_t sliding_window = 0;         // 0 = none
  int64_t sliding_window_period = 0;  // every period-th layer sees everything, the others the window
  float final_logit_softcap = 0.0f;
  float attention_scale = 0.0f;     // multiplies q . k
  bool tied_embeddings = false;     // the head is the embedding table
  bool has_rope_factors = false;    // tensor rope_freqs.weight
  bool has_attention_bias = false;  // q, k and v have biases
};

// Errors: Unimplemented (architecture, rope scaling), InvalidArgument or DataLoss (sizes that contradict each other),
// each naming the key or tensor.
Result<ModelConfig> ReadModelConfig(const GgufFile& file);

// The graph of one architecture; REQUIRES a config from ReadModelConfig. One file each: llama.cc (also qwen2),
// gemma3.cc.
Graph BuildLlamaGraph(const ModelConfig& config);
Graph BuildGemma3Graph(const ModelConfig& config);

// Immutable and thread-safe.
struct Model {
  ModelConfig config;
  Graph graph;
  WeightTable weights;
  std::vector<WeightHandle> bound_weights;  // by WeightSlot
  std::shared_ptr<Tokenizer> tokenizer;     // may outlive the model
  std::shared_ptr<ChatTemplate> chat_template;
  std::string quantization;  // the type that most weight bytes have: "Q4_1"
  uint64_t num_parameters = 0;
  uint64_t file_bytes = 0;
};

// Maps and checks a GGUF file; reads no weight. Errors: as GgufFile::Open and ReadModelConfig; NotFound for a missing
// tensor, InvalidArgument for one of the wrong shape.
Result<std::unique_ptr<Model>> LoadModel(const std::filesystem::path& path);

}  // namespace lem
