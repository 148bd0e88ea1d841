// Rotates every head; columns from rotary_dim on are copied. A thread takes one pair or one copied column.
// Grid: x num_heads * (head_dim - pairs) / WORKGROUP, y rows.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"

layout(push_constant, scalar) uniform Args {
  StepHeader step;
  uint64_t in_rows;
  uint64_t out_rows;
  uint64_t cos_sin;  // vec2 [T, pairs]
  uint in_stride;
  uint out_stride;
  uint num_heads;
  uint head_dim;
  uint pairs;  // rotary_dim / 2
  uint interleaved;
} args;

void main() {
  const uint row = gl_WorkGroupID.y;
  const uint per_head = args.head_dim - args.pairs;
  const uint i = gl_WorkGroupID.x * WORKGROUP + thread_idx();
  if (row >= args.step.num_rows[0] || i >= args.num_heads * per_head) return;
  const uint head = i / per_head, unit = i % per_head;
  Floats in_head = Floats(args.in_rows + (uint64_t(row) * args.in_stride + head * args.head_dim) * 4);
  Floats out_head = Floats(args.out_rows + (uint64_t(row) * args.out_stride + head * args.head_dim) * 4);
  if (unit >= args.pairs) {
    out_head.at[unit + args.pairs] = in_head.at[unit + args.pairs];
    return;
  }
  Floats angle = Floats(args.cos_sin + (uint64_t(row) * args.pairs + unit) * 8);
  const uint first = args.interleaved != 0 ? 2 * unit : unit;
  const uint second = args.interleaved != 0 ? first + 1 : unit + args.pairs;
  const float x = in_head.at[first], y = in_head.at[second];
  const float c = angle.at[0], s = angle.at[1];
  out_head.at[first] = x * c - y * s;
  out_head.at[second] = x * s + y * c;
}
