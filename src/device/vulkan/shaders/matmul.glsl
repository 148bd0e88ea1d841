// Linear for many rows: tiles of weights and activations in shared memory, one dequantisation for BN activation rows.
//
// A workgroup computes BM = THREADS_M * TM weight rows by BN activation rows; a thread TM x TN of them. K goes by 32; each
// result is one sum in rising k, so it does not depend on the rows beside it.
// Grid: x and z count tiles of weight rows, y tiles of activation rows.
#include "step.glsl"
#include "quants.glsl"
#include "linear.glsl"

layout(constant_id = 2) const uint THREADS_M = 8;  // divides WORKGROUP
layout(constant_id = 3) const uint TM = 8;
layout(constant_id = 4) const uint TN = 4;
layout(constant_id = 5) const bool WHOLE = true;  // as in matvec.comp
const uint THREADS_N = WORKGROUP / THREADS_M;
const uint BM = THREADS_M * TM, BN = THREADS_N * TN, BK = 32;

// Vectors of 4 consecutive k.
shared TILE_VEC4 weight_tile[BK / 4 * BM];  // [BK / 4, BM]
shared TILE_VEC4 input_tile[BK / 4 * BN];   // [BK / 4, BN]

void load_weights(uint first_n, uint chunk) {
  for (uint m = thread_idx(); m < BM; m += WORKGROUP) {
    const uint64_t row = args.weight + uint64_t(min(first_n + m, args.n - 1)) * args.row_bytes;
    Chunk c;
    if (!IS_PLAIN) c = load_chunk(row, chunk);
    [[unroll]] for (uint h = 0; h < 2; ++h) {
      vec4 values[4];
      dequantise16(c, row, chunk, h, args.k, WHOLE, values);
      [[unroll]] for (uint i = 0; i < 4; ++i) weight_tile[(4 * h + i) * BM + m] = TILE_VEC4(values[i]);
    }
  }
}

void load_inputs(uint first_row, uint num_rows, uint chunk) {
  for (uint i = thread_idx(); i < BN * 8; i += WORKGROUP) {
    const uint n = i / 8, k = chunk * 32 + i % 8 * 4;
    const uint64_t row = args.in_rows + uint64_t(min(first_row + n, num_rows - 1)) * args.in_stride * 4;
    vec4 v = vec4(0);
    if (WHOLE || k + 4 <= args.k) {
      v = Vec4s(row).at[k / 4];
    } else {
      [[unroll]] for (uint j = 0; j < 3; ++j) {
        if (k + j < args.k) v[j] = Floats(row).at[k + j];
      }
    }
    input_tile[i % 8 * BN + n] = TILE_VEC4(v);
  }
}

void main() {
  const uint first_n = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * BM;
  const uint first_row = gl_WorkGroupID.y * BN;
  const uint num_rows = args.step.num_rows[args.rows_kind];
  if (first_row >= num_rows || first_n >= args.n) return;
  // A thread's results lie THREADS_M and THREADS_N apart, so that neighbours read neighbouring words of the tiles.
  const uint my_m = thread_idx() % THREADS_M, my_n = thread_idx() / THREADS_M;

  float acc[TN][TM];
  [[unroll]] for (uint n = 0; n < TN; ++n) {
    [[unroll]] for (uint m = 0; m < TM; ++m) acc[n][m] = 0;
  }
  const uint num_chunks = (args.k + 31) / 32;
  for (uint chunk = 0; chunk < num_chunks; ++chunk) {
    load_weights(first_n, chunk);
    load_inputs(first_row, num_rows, chunk);
    barrier();
    [[dont_unroll]] for (uint k = 0; k < BK / 4; ++k) {
      vec4 w[TM];
      [[unroll]] for (uint m = 0; m < TM; ++m) w[m] = vec4(weight_tile[k * BM + my_m + m * THREADS_M]);
      [[unroll]] for (uint n = 0; n < TN; ++n) {
        const vec4 x = vec4(input_tile[k * BN + my_n + n * THREADS_N]);
        [[unroll]] for (uint m = 0; m < TM; ++m) {
          acc[n][m] = fma(w[m].x, x.x, acc[n][m]);
          acc[n][m] = fma(w[m].y, x.y, acc[n][m]);
          acc[n][m] = fma(w[m].z, x.z, acc[n][m]);
          acc[n][m] = fma(w[m].w, x.w, acc[n][m]);
        }
      }
    }
    barrier();
  }
  [[unroll]] for (uint n = 0; n < TN; ++n) {
    [[unroll]] for (uint m = 0; m < TM; ++m) {
      const uint row = first_row + my_n + n * THREADS_N, col = first_n + my_m + m * THREADS_M;
      if (row < num_rows && col < args.n) store_output(row, col, acc[n][m]);
    }
  }
}
