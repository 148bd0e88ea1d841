#include <cmath>

#include "models/model.h"

namespace lem {
namespace {

// Reads the keys of one architecture: "<architecture>.<name>".
class KeyReader {
 public:
  KeyReader(const GgufFile& file, std::string architecture) : file_(file), prefix_(std::move(architecture) + ".") {}

  std::string Key(std::string_view name) const { return fmt::format("{}{}", prefix_, name); }
  bool Has(std::string_view name) const { return file_.Has(Key(name)); }

  // An integer in [1, max].
  Result<int64_t> Size(std::string_view name, int64_t max) const {
    LEM_ASSIGN_OR_RETURN(const uint64_t value, file_.GetUint(Key(name)));
    if (value < 1 || value > static_cast<uint64_t>(max)) {
      return InvalidArgument("key {} is {}; allowed: 1 to {}", Key(name), value, max);
    }
    return static_cast<int64_t>(value);
  }
  Result<int64_t> SizeOr(std::string_view name, int64_t max, int64_t fallback) const {
    return Has(name) ? Size(name, max) : Result<int64_t>(fallback);
  }
  // A finite number > 0.
  Result<double> PositiveOr(std::string_view name, double fallback) const {
    LEM_ASSIGN_OR_RETURN(const double value, file_.GetFloatOr(Key(name), fallback));
    if (!std::isfinite(value) || value <= 0) {
      return InvalidArgument("key {} is {}; it must be a positive number", Key(name), value);
    }
    return value;
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

// Bounds far above every published model, so that no product of two sizes can overflow.
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxContext = int64_t{1} << 26;

Status ReadRopeScaling(const GgufFile& file, const KeyReader& keys, ModelConfig& config) {
  LEM_ASSIGN_OR_RETURN(const std::string_view type, file.GetStringOr(keys.Key("rope.scaling.type"), "none"));
  if (type == "linear") {
    LEM_ASSIGN_OR_RETURN(config.rope_scale, keys.PositiveOr("rope.scaling.factor", 1.0));
  } else if (type != "none") {
    return Unimplemented("key {} is '{}'; supported: 'none', 'linear'", keys.Key("rope.scaling.type"), type);
  } else if (keys.Has("rope.scale_linear")) {
    LEM_ASSIGN_OR_RETURN(config.rope_scale, keys.PositiveOr("rope.scale_linear", 1.0));
  }
  return OkStatus();
}

Status ReadSlidingWindow(const KeyReader& keys, ModelConfig& config) {
  LEM_ASSIGN_OR_RETURN(config.sliding_window, keys.SizeOr("attention.sliding_window", kMaxContext, 0));
  // Gemma 3: five local layers, then a global one (Gemma 3 report, section 2).
  config.sliding_window_period = 6;
  LEM_ASSIGN_OR_RETURN(config.rope_theta_local, keys.PositiveOr("rope.freq_base_swa", 10000.0));
  return OkStatus();
}

Status CheckSizes(const ModelConfig& c) {
  if (c.num_heads % c.num_kv_heads != 0) {
    return InvalidArgument("attention.head_count is {}; it must be a multiple of attention.head_count_kv, which is {}",
                           c.num_heads, c.num_kv_heads);
  }
  if (c.rotary_dim % 2 != 0 || c.rotary_dim > c.head_dim) {
    return InvalidArgument("rope.dimension_count is {}; it must be even and at most the head size {}", c.rotary_dim,
                           c.head_dim);
  }
  return OkStatus();
}

}  // namespace

Result<ModelConfig> ReadModelConfig(const GgufFile& file) {
  ModelConfig c;
  LEM_ASSIGN_OR_RETURN(const std::string_view architecture, file.GetString("general.architecture"));
  c.architecture = architecture;
  if (c.architecture != "llama" && c.architecture != "qwen2" && c.architecture != "gemma3") {
    return Unimplemented("architecture '{}' is not supported; supported: llama, qwen2, gemma3", c.architecture);
  }
  const KeyReader keys(file, c.architecture);
  if (keys.Has("expert_count")) {
    LEM_ASSIGN_OR_RETURN(const uint64_t experts, file.GetUint(keys.Key("expert_count")));
    if (experts > 0) return Unimplemented("mixture-of-experts models are not supported ({} experts)", experts);
  }
  LEM_ASSIGN_OR_RETURN(const std::string_view name, file.GetStringOr("general.name", ""));
  c.name = name;
  LEM_ASSIGN_OR_RETURN(const int64_t num_layers, keys.Size("block_count", kMaxLayers));
  c.num_layers = static_cast<int32_t>(num_layers);
  LEM_ASSIGN_OR_RETURN(c.context_length, keys.Size("context_length", kMaxContext));
  LEM_ASSIGN_OR_RETURN(c.hidden_size, keys.Size("embedding_length", kMaxWidth));
  LEM_ASSIGN_OR_RETURN(c.intermediate_size, keys.Size("feed_forward_length", kMaxWidth));
  LEM_ASSIGN_OR_RETURN(c.num_heads, keys.Size("attention.head_count", kMaxHeads));
  LEM_ASSIGN_OR_RETURN(c.num_kv_heads, keys.SizeOr("attention.head_count_kv", kMaxHeads, c.num_heads));
  LEM_ASSIGN_OR_RETURN(c.head_dim, keys.SizeOr("attention.key_length", kMaxHeadDim, c.hidden_size / c.num_heads));
  LEM_ASSIGN_OR_RETURN(const int64_t value_dim, keys.SizeOr("attention.value_length", kMaxHeadDim, c.head_dim));
  if (value_dim != c.head_dim) {
    return Unimplemented("keys have {} dimensions a head and values {}; only equal ones are supported", c.head_dim,
                         value_dim);
  }
  if (c.head_dim < 2) return InvalidArgument("a head has {} dimensions; at least 2 are needed", c.head_dim);
  LEM_ASSIGN_OR_RETURN(const double eps, keys.PositiveOr("attention.layer_norm_rms_epsilon", 1e-5));
  c.rms_norm_eps = static_cast<float>(eps);
  LEM_ASSIGN_OR_RETURN(c.rotary_dim, keys.SizeOr("rope.dimension_count", kMaxHeadDim, c.head_dim));
  LEM_ASSIGN_OR_RETURN(c.rope_theta, keys.PositiveOr("rope.freq_base", 10000.0));
  LEM_TRY(ReadRopeScaling(file, keys, c));
  c.attention_scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  if (c.architecture == "gemma3") {
    LEM_TRY(ReadSlidingWindow(keys, c));
    // The 27B model alone (62 layers) scales by the width a head has of the hidden state.
    if (c.num_layers == 62) c.attention_scale = 1.0f / std::sqrt(static_cast<float>(c.hidden_size / c.num_heads));
    LEM_ASSIGN_OR_RETURN(const double cap, file.GetFloatOr(keys.Key("final_logit_softcapping"), 0.0));
    if (!std::isfinite(cap) || cap < 0)
      return InvalidArgument("key {} is {}", keys.Key("final_logit_softcapping"), cap);
    c.final_logit_softcap = static_cast<float>(cap);
  }
  LEM_TRY(CheckSizes(c));

  const GgufTensor* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr) return NotFound("the file has no tensor token_embd.weight: it holds no model weights");
  if (embedding->dims.size() != 2) return InvalidArgument("tensor token_embd.weight must have 2 dimensions");
  if (embedding->dims[1] < 1 || embedding->dims[1] > static_cast<uint64_t>(int64_t{1} << 24)) {
    return InvalidArgument("tensor token_embd.weight has {} rows; allowed: 1 to {}", embedding->dims[1], 1 << 24);
  }
  c.vocab_size = static_cast<int64_t>(embedding->dims[1]);
  c.tied_embeddings = file.FindTensor("output.weight") == nullptr;
  c.has_rope_factors = file.FindTensor("rope_freqs.weight") != nullptr;
  c.has_attention_bias = file.FindTensor("blk.0.attn_q.bias") != nullptr;
  return c;
}

}  // namespace lem
