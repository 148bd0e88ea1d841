// Stores the step's keys (rotated first if a table is given) and values in the paged cache, rounded to float16.
// Grid: x num_kv_heads * head_dim / WORKGROUP, y rows. A thread stores one column of the key and of the value.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"
#include "kv.glsl"

layout(buffer_reference, scalar, buffer_reference_align = 2) writeonly buffer OutShorts { uint16_t at[]; };

layout(push_constant, scalar) uniform Args {
  StepHeader step;
  uint64_t k_rows;
  uint64_t v_rows;
  uint64_t cos_sin;  // vec2 [T, pairs] or 0
  uint k_stride;
  uint v_stride;
  uint k_offset;
  uint v_offset;
  uint num_kv_heads;
  uint head_dim;
  uint pairs;  // rotary_dim / 2
  uint interleaved;
} args;

float rotated_key(uint row, uint head, uint d) {
  Floats head_row = Floats(args.k_rows + (uint64_t(row) * args.k_stride + head * args.head_dim) * 4);
  if (args.cos_sin == 0 || d >= 2 * args.pairs) return head_row.at[d];
  const uint pair = args.interleaved != 0 ? d / 2 : d % args.pairs;
  const bool is_second = args.interleaved != 0 ? (d & 1) != 0 : d >= args.pairs;
  const uint first = args.interleaved != 0 ? 2 * pair : pair;
  const uint second = args.interleaved != 0 ? first + 1 : pair + args.pairs;
  Floats angle = Floats(args.cos_sin + (uint64_t(row) * args.pairs + pair) * 8);
  const float x = head_row.at[first], y = head_row.at[second];
  const float c = angle.at[0], s = angle.at[1];
  return is_second ? x * s + y * c : x * c - y * s;
}

void main() {
  const uint row = gl_WorkGroupID.y;
  const uint i = gl_WorkGroupID.x * WORKGROUP + thread_idx();
  if (row >= args.step.num_rows[0] || i >= args.num_kv_heads * args.head_dim) return;
  const uint head = i / args.head_dim, d = i % args.head_dim;
  const StepRow step_row = args.step.rows.at[row];
  const uint64_t block = args.step.kv_blocks.at[step_row.kv_block_begin + step_row.position / KV_BLOCK_TOKENS];
  const uint token = step_row.position % KV_BLOCK_TOKENS;
  const uint head_begin = head * args.head_dim * KV_BLOCK_TOKENS;
  OutShorts(block + args.k_offset).at[head_begin + d * KV_BLOCK_TOKENS + token] =
      uint16_t(float_to_half(rotated_key(row, head, d)));
  const float v = Floats(args.v_rows + uint64_t(row) * args.v_stride * 4).at[i];
  OutShorts(block + args.v_offset).at[head_begin + token * args.head_dim + d] = uint16_t(float_to_half(v));
}
