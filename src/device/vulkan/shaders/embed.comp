// out[t] = scale * dequantised row token_ids[t] of a table. Grid: x chunks of 32 columns / WORKGROUP, y rows.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"
#include "quants.glsl"

layout(push_constant, scalar) uniform Args {
  StepHeader step;
  uint64_t table;
  uint64_t row_bytes;
  uint64_t out_rows;
  uint cols;
  uint out_stride;
  float scale;
} args;

void main() {
  const uint row = gl_WorkGroupID.y;
  const uint chunk = gl_WorkGroupID.x * WORKGROUP + thread_idx();
  if (row >= args.step.num_rows[0] || chunk * 32 >= args.cols) return;
  const uint64_t in_row = args.table + uint64_t(args.step.token_ids.at[row]) * args.row_bytes;
  Floats out_row = Floats(args.out_rows + uint64_t(row) * args.out_stride * 4);
  Chunk c;
  if (!IS_PLAIN) c = load_chunk(in_row, chunk);
  [[unroll]] for (uint i = 0; i < 8; ++i) {
    const uint k = chunk * 32 + 4 * i;
    vec4 v;
    if (IS_PLAIN) {
      v = plain4(in_row, k, args.cols);
    } else {
      const float scale = c.scale[i / 4];
      v = scale * integers(c.q[i]);
      if (HAS_MINIMUM) v -= vec4(c.minimum[i / 4]);
    }
    v *= args.scale;
    [[unroll]] for (uint j = 0; j < 4; ++j) {
      if (k + j < args.cols) out_row.at[k + j] = v[j];
    }
  }
}
