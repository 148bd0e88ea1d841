// Operations on single elements, chosen by the constant OP. Grid: x elements of a row / (WORKGROUP * PER_THREAD), y rows.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"

layout(constant_id = 1) const uint OP = 0;
const uint ADD = 0, SILU_MUL = 1, GELU_MUL = 2, SOFTCAP = 3, COPY = 4, SELECT = 5;
const uint PER_THREAD = 4;

layout(push_constant, scalar) uniform Args {
  StepHeader step;
  uint64_t a_rows;
  uint64_t b_rows;
  uint64_t out_rows;
  uint rows_kind;
  uint a_stride;
  uint b_stride;
  uint out_stride;
  uint cols;
  float cap;
} args;

// 1 / (1 + exp(-x)) without overflow: exp's argument is never positive.
float sigmoid(float x) {
  const float e = exp(-abs(x));
  return (x >= 0 ? 1.0 : e) / (1.0 + e);
}

// tanh with a small relative error everywhere: near 0 by its odd series, elsewhere by exp of a negative number.
float tanh_exact(float x) {
  const float ax = abs(x);
  if (ax < 0.125) {
    const float s = x * x;
    return x * fma(s, fma(s, fma(s, -17.0 / 315.0, 2.0 / 15.0), -1.0 / 3.0), 1.0);
  }
  const float e = exp(-2.0 * ax);
  return sign(x) * (1.0 - e) / (1.0 + e);
}

float apply(float a, float b) {
  if (OP == ADD) return a + b;
  if (OP == SILU_MUL) return a * sigmoid(a) * b;
  // 0.5 (1 + tanh(y)) = sigmoid(2 y)
  if (OP == GELU_MUL) return a * sigmoid(2.0 * 0.7978845608028654 * (a + 0.044715 * a * a * a)) * b;
  if (OP == SOFTCAP) return args.cap * tanh_exact(a / args.cap);
  return a;
}

void main() {
  const uint row = gl_WorkGroupID.y;
  if (row >= args.step.num_rows[args.rows_kind]) return;
  const uint a_row = OP == SELECT ? args.step.output_rows.at[row] : row;
  const uint64_t a = args.a_rows + uint64_t(a_row) * args.a_stride * 4;
  const uint64_t b = args.b_rows + uint64_t(row) * args.b_stride * 4;
  const uint64_t result = args.out_rows + uint64_t(row) * args.out_stride * 4;
  const bool two = OP == ADD || OP == SILU_MUL || OP == GELU_MUL;
  const uint begin = (gl_WorkGroupID.x * WORKGROUP + thread_idx()) * PER_THREAD;
  const bool aligned = ((args.a_stride | args.b_stride | args.out_stride) & 3) == 0 &&
                       (uint(args.a_rows | args.b_rows | args.out_rows) & 15) == 0;
  if (aligned && begin + PER_THREAD <= args.cols) {
    const vec4 x = Vec4s(a).at[begin / 4];
    vec4 y = vec4(0);
    if (two) y = Vec4s(b).at[begin / 4];
    vec4 v;
    [[unroll]] for (uint j = 0; j < 4; ++j) v[j] = apply(x[j], y[j]);
    Vec4s(result).at[begin / 4] = v;
    return;
  }
  for (uint i = begin; i < min(begin + PER_THREAD, args.cols); ++i) {
    Floats(result).at[i] = apply(Floats(a).at[i], two ? Floats(b).at[i] : 0.0);
  }
}
