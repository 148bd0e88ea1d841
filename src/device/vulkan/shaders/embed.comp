// out[t] = scale * dequantised row token_ids[t] of a table. Grid: x chunks of 32 columns / WORKGROUP, y rows.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"
#include "quants.glsl"

// As in matvec.comp.
layout(constant_id = 2) const bool WHOLE = true;

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
  [[unroll]] for (uint h = 0; h < 2; ++h) {
    vec4 values[4];
    dequantise16(c, in_row, chunk, h, args.cols, WHOLE, values);
    [[unroll]] for (uint i = 0; i < 16; ++i) {
      const uint col = chunk * 32 + h * 16 + i;
      if (WHOLE || col < args.cols) out_row.at[col] = args.scale * values[i / 4][i % 4];
    }
  }
}
