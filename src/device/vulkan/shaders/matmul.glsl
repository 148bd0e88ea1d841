// Linear for many rows: tiles of weights and activations in shared memory, one dequantisation for BN activation rows.
//
// A workgroup computes BM = THREADS_M * TM weight rows by BN activation rows; a thread TM x TN of them. K goes by 32; each
// result is one sum in rising k, so it does not depend on the rows beside it.
// Grid: x and z count tiles of weight rows, y tiles of activation rows.
#include "step.glsl"
#include "quants.glsl"
#include "linear.glsl"

layout(constant_id = 2) const uint THREADS_M = 8;  // divides WORKGROUP
layout(constant_id = 3) const uint TM = 4;         // a multiple of 4
layout(constant_id = 4) const uint TN = 4;         // likewise
layout(constant_id = 5) const bool WHOLE = true;   // as in matvec.comp
const uint THREADS_N = WORKGROUP / THREADS_M;
const uint BM = THREADS_M * TM, BN = THREADS_N * TN, BK = 32;

shared TILE_VEC4 weight_tile[BK * BM / 4];  // [BK, BM]
shared TILE_VEC4 input_tile[BK * BN / 4];   // [BK, BN]

// Elements are written one by one, read four by four.
void put_weight(uint k, uint m, float value) { weight_tile[(k * BM + m) / 4][m % 4] = TILE_FLOAT(value); }
void put_input(uint k, uint n, float value) { input_tile[(k * BN + n) / 4][n % 4] = TILE_FLOAT(value); }

void load_weights(uint first_n, uint chunk) {
  for (uint m = thread_idx(); m < BM; m += WORKGROUP) {
    const uint64_t row = args.weight + uint64_t(min(first_n + m, args.n - 1)) * args.row_bytes;
    Chunk c;
    if (!IS_PLAIN) c = load_chunk(row, chunk);
    [[unroll]] for (uint h = 0; h < 2; ++h) {
      vec4 values[4];
      dequantise16(c, row, chunk, h, args.k, WHOLE, values);
      [[unroll]] for (uint i = 0; i < 16; ++i) put_weight(16 * h + i, m, values[i / 4][i % 4]);
    }
  }
}

void load_inputs(uint first_row, uint num_rows, uint chunk) {
  for (uint i = thread_idx(); i < BN * 8; i += WORKGROUP) {
    const uint n = i / 8, k = chunk * 32 + i % 8 * 4;
    const uint64_t row = args.in_rows + uint64_t(min(first_row + n, num_rows - 1)) * args.in_stride * 4;
    vec4 v = vec4(0);
    if (k + 4 <= args.k) {
      v = Vec4s(row).at[k / 4];
    } else {
      [[unroll]] for (uint j = 0; j < 3; ++j) {
        if (k + j < args.k) v[j] = Floats(row).at[k + j];
      }
    }
    [[unroll]] for (uint j = 0; j < 4; ++j) put_input(i % 8 * 4 + j, n, v[j]);
  }
}

void main() {
  const uint first_n = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * BM;
  const uint first_row = gl_WorkGroupID.y * BN;
  const uint num_rows = args.step.num_rows[args.rows_kind];
  if (first_row >= num_rows || first_n >= args.n) return;
  const uint my_m = thread_idx() % THREADS_M * TM, my_n = thread_idx() / THREADS_M * TN;

  vec4 acc[TN][TM / 4];
  [[unroll]] for (uint n = 0; n < TN; ++n) {
    [[unroll]] for (uint m = 0; m < TM / 4; ++m) acc[n][m] = vec4(0);
  }
  const uint num_chunks = (args.k + 31) / 32;
  for (uint chunk = 0; chunk < num_chunks; ++chunk) {
    load_weights(first_n, chunk);
    load_inputs(first_row, num_rows, chunk);
    barrier();
    for (uint k = 0; k < BK; ++k) {
      vec4 w[TM / 4];
      [[unroll]] for (uint m = 0; m < TM / 4; ++m) w[m] = vec4(weight_tile[(k * BM + my_m) / 4 + m]);
      [[unroll]] for (uint q = 0; q < TN / 4; ++q) {
        const vec4 x = vec4(input_tile[(k * BN + my_n) / 4 + q]);
        [[unroll]] for (uint j = 0; j < 4; ++j) {
          [[unroll]] for (uint m = 0; m < TM / 4; ++m) acc[4 * q + j][m] = fma(w[m], vec4(x[j]), acc[4 * q + j][m]);
        }
      }
    }
    barrier();
  }
  [[unroll]] for (uint n = 0; n < TN; ++n) {
    [[unroll]] for (uint m = 0; m < TM; ++m) {
      if (first_row + my_n + n < num_rows && first_n + my_m + m < args.n) {
        store_output(first_row + my_n + n, first_n + my_m + m, acc[n][m / 4][m % 4]);
      }
    }
  }
}
