// Gemma 3 (Gemma Team 2025), text part: norms before and after each block, normalised queries and keys, local and
// global layers with their own rotary bases, GeGLU, scaled embeddings.
#include <cmath>

#include "models/model.h"

namespace lem {

Graph BuildGemma3Graph(const ModelConfig& c) {
  const int64_t q_cols = c.num_heads * c.head_dim;
  const int64_t kv_cols = c.num_kv_heads * c.head_dim;
  GraphBuilder b(c.architecture);
  const int32_t rope_global =
      b.Rope({.rotary_dim = c.rotary_dim, .theta = c.rope_theta, .position_scale = 1.0 / c.rope_scale});
  const int32_t rope_local = b.Rope({.rotary_dim = c.rotary_dim, .theta = c.rope_theta_local});

  const WeightSlot embedding = b.Weight("token_embd.weight", c.vocab_size, c.hidden_size);
  ValueId x = b.Embed(embedding, std::sqrt(static_cast<float>(c.hidden_size)));  // [T, hidden]

  for (int32_t layer = 0; layer < c.num_layers; ++layer) {
    const auto weight = [&](const char* name, int64_t rows, int64_t cols) {
      return b.Weight(fmt::format("blk.{}.{}", layer, name), rows, cols);
    };
    const auto norm = [&](ValueId in, const char* name, int64_t cols) {
      return b.RmsNorm(in, weight(name, 1, cols), c.rms_norm_eps, cols);
    };
    const bool local = c.sliding_window > 0 && (layer + 1) % c.sliding_window_period != 0;
    const int32_t rope = local ? rope_local : rope_global;

    b.Enter(Part::kAttention, layer);
    const ValueId h = norm(x, "attn_norm.weight", c.hidden_size);
    ValueId q = b.Linear(h, weight("attn_q.weight", q_cols, c.hidden_size));         // [T, q_cols]
    ValueId k = b.Linear(h, weight("attn_k.weight", kv_cols, c.hidden_size));        // [T, kv_cols]
    const ValueId v = b.Linear(h, weight("attn_v.weight", kv_cols, c.hidden_size));  // [T, kv_cols]
    q = b.Rope(norm(q, "attn_q_norm.weight", c.head_dim), rope, c.head_dim);         // normalised per head
    k = b.Rope(norm(k, "attn_k_norm.weight", c.head_dim), rope, c.head_dim);
    const ValueId attention =
        b.PagedAttention(q, k, v, layer, c.num_heads, c.attention_scale, local ? c.sliding_window : 0);  // [T, q_cols]
    const ValueId o = b.Linear(attention, weight("attn_output.weight", c.hidden_size, q_cols));          // [T, hidden]
    x = b.Add(x, norm(o, "post_attention_norm.weight", c.hidden_size));

    b.Enter(Part::kFeedForward, layer);
    const ValueId f = norm(x, "ffn_norm.weight", c.hidden_size);
    const ValueId gate =
        b.Linear(f, weight("ffn_gate.weight", c.intermediate_size, c.hidden_size));               // [T, intermediate]
    const ValueId up = b.Linear(f, weight("ffn_up.weight", c.intermediate_size, c.hidden_size));  // [T, intermediate]
    const ValueId glu = b.Glu(gate, up, Activation::kGeluTanh);
    const ValueId down = b.Linear(glu, weight("ffn_down.weight", c.hidden_size, c.intermediate_size));  // [T, hidden]
    x = b.Add(x, norm(down, "post_ffw_norm.weight", c.hidden_size));
  }

  b.Enter(Part::kHead);
  x = b.SelectOutputs(x);  // [O, hidden]
  x = b.RmsNorm(x, b.Weight("output_norm.weight", 1, c.hidden_size), c.rms_norm_eps);
  const WeightSlot head = c.tied_embeddings ? embedding : b.Weight("output.weight", c.vocab_size, c.hidden_size);
  ValueId logits = b.Linear(x, head);  // [O, vocab]
  if (c.final_logit_softcap > 0) logits = b.Softcap(logits, c.final_logit_softcap);
  return b.Finish(logits, KvSpec{c.num_layers, c.num_kv_heads, c.head_dim});
}

}  // namespace lem
