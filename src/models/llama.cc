// Llama (Touvron et al. 2023) and Qwen2: pre-norm, rotary positions, grouped-query attention, SwiGLU. Qwen2 differs by
// biases on q, k, v and by how rotary pairs are laid out.
#include "models/model.h"

namespace lem {

Graph BuildLlamaGraph(const ModelConfig& c) {
  const int64_t q_cols = c.num_heads * c.head_dim;
  const int64_t kv_cols = c.num_kv_heads * c.head_dim;
  GraphBuilder b(c.architecture);

  RopeSpec rope_spec{.rotary_dim = c.rotary_dim, .theta = c.rope_theta, .position_scale = 1.0 / c.rope_scale};
  rope_spec.interleaved = c.architecture == "llama";
  if (c.has_rope_factors) rope_spec.factors = b.Weight("rope_freqs.weight", 1, c.rotary_dim / 2);
  const int32_t rope = b.Rope(rope_spec);

  const WeightSlot embedding = b.Weight("token_embd.weight", c.vocab_size, c.hidden_size);
  ValueId x = b.Embed(embedding, 1.0f);  // [T, hidden]

  for (int32_t layer = 0; layer < c.num_layers; ++layer) {
    const auto weight = [&](const char* name, int64_t rows, int64_t cols) {
      return b.Weight(fmt::format("blk.{}.{}", layer, name), rows, cols);
    };
    const auto bias = [&](const char* name, int64_t cols) {
      return c.has_attention_bias ? weight(name, 1, cols) : kNone;
    };

    b.Enter(Part::kAttention, layer);
    const ValueId h = b.RmsNorm(x, weight("attn_norm.weight", 1, c.hidden_size), c.rms_norm_eps);
    ValueId q =
        b.Linear(h, weight("attn_q.weight", q_cols, c.hidden_size), bias("attn_q.bias", q_cols));  // [T, q_cols]
    ValueId k =
        b.Linear(h, weight("attn_k.weight", kv_cols, c.hidden_size), bias("attn_k.bias", kv_cols));  // [T, kv_cols]
    const ValueId v = b.Linear(h, weight("attn_v.weight", kv_cols, c.hidden_size), bias("attn_v.bias", kv_cols));
    q = b.Rope(q, rope, c.head_dim);
    k = b.Rope(k, rope, c.head_dim);
    const ValueId attention = b.PagedAttention(q, k, v, layer, c.num_heads, c.attention_scale, 0);  // [T, q_cols]
    x = b.Add(x, b.Linear(attention, weight("attn_output.weight", c.hidden_size, q_cols)));         // [T, hidden]

    b.Enter(Part::kFeedForward, layer);
    const ValueId f = b.RmsNorm(x, weight("ffn_norm.weight", 1, c.hidden_size), c.rms_norm_eps);
    const ValueId gate =
        b.Linear(f, weight("ffn_gate.weight", c.intermediate_size, c.hidden_size));               // [T, intermediate]
    const ValueId up = b.Linear(f, weight("ffn_up.weight", c.intermediate_size, c.hidden_size));  // [T, intermediate]
    const ValueId glu = b.Glu(gate, up, Activation::kSilu);
    x = b.Add(x, b.Linear(glu, weight("ffn_down.weight", c.hidden_size, c.intermediate_size)));  // [T, hidden]
  }

  b.Enter(Part::kHead);
  x = b.SelectOutputs(x);  // [O, hidden]
  x = b.RmsNorm(x, b.Weight("output_norm.weight", 1, c.hidden_size), c.rms_norm_eps);
  const WeightSlot head = c.tied_embeddings ? embedding : b.Weight("output.weight", c.vocab_size, c.hidden_size);
  const ValueId logits = b.Linear(x, head);  // [O, vocab]
  return b.Finish(logits, KvSpec{c.num_layers, c.num_kv_heads, c.head_dim});
}

}  // namespace lem
