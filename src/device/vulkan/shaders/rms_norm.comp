// out = in / sqrt(mean(in^2) + eps) * weight over groups of columns. Grid: x groups of a row, y rows.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"
#include "reduce.glsl"

layout(push_constant, scalar) uniform Args {
  StepHeader step;
  uint64_t in_rows;
  uint64_t out_rows;
  uint64_t weight;
  uint rows_kind;
  uint in_stride;
  uint out_stride;
  uint group;
  float eps;
} args;

void main() {
  const uint row = gl_WorkGroupID.y;
  if (row >= args.step.num_rows[args.rows_kind]) return;
  const uint begin = gl_WorkGroupID.x * args.group;
  Floats in_row = Floats(args.in_rows + (uint64_t(row) * args.in_stride + begin) * 4);
  Floats out_row = Floats(args.out_rows + (uint64_t(row) * args.out_stride + begin) * 4);
  float sum = 0;
  for (uint i = thread_idx(); i < args.group; i += WORKGROUP) {
    const float x = in_row.at[i];
    sum = fma(x, x, sum);
  }
  const float scale = 1.0 / sqrt(workgroup_sum(sum) / float(args.group) + args.eps);
  for (uint i = thread_idx(); i < args.group; i += WORKGROUP) {
    out_row.at[i] = in_row.at[i] * scale * Floats(args.weight).at[i];
  }
}
