// Linear for few rows: streams the weights once for up to COLS activation rows.
//
// A workgroup computes ROWS * (WORKGROUP / LANES) weight rows. LANES threads share a weight row: lane l sums the chunks
// of 32 elements l, l + LANES, ...; inside a chunk each half of 16 elements is summed in rising order and then scaled.
// The lanes' sums are added as a tree of fixed shape. COLS only repeats this for other activation rows, so a result does
// not depend on it. Grid: x and z count groups of weight rows, y groups of COLS activation rows.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"
#include "quants.glsl"
#include "linear.glsl"

layout(constant_id = 2) const uint LANES = 8;  // a power of two that divides WORKGROUP
layout(constant_id = 3) const uint ROWS = 4;
layout(constant_id = 4) const uint COLS = 1;
// K is a multiple of 32 and rows begin at multiples of 8 bytes (always so for quantised types).
layout(constant_id = 5) const bool WHOLE = true;

shared float sums[WORKGROUP * ROWS * COLS];

float dot16(vec4 w[4], vec4 x[4]) {
  float sum = 0;
  [[unroll]] for (uint i = 0; i < 4; ++i) {
    sum = fma(w[i].x, x[i].x, sum);
    sum = fma(w[i].y, x[i].y, sum);
    sum = fma(w[i].z, x[i].z, sum);
    sum = fma(w[i].w, x[i].w, sum);
  }
  return sum;
}

// Elements k to k + 15 of activation row `row`; those past the end are 0.
void load_inputs(uint row, uint k, out vec4 x[4]) {
  const uint64_t address = args.in_rows + (uint64_t(row) * args.in_stride + k) * 4;
  [[unroll]] for (uint i = 0; i < 4; ++i) {
    if (WHOLE) {
      const u64vec2 pair = LongPairs(address).at[i];
      x[i] = uintBitsToFloat(uvec4(unpack32(pair.x), unpack32(pair.y)));
    } else {
      [[unroll]] for (uint j = 0; j < 4; ++j) x[i][j] = k + 4 * i + j < args.k ? Floats(address).at[4 * i + j] : 0.0;
    }
  }
}

void main() {
  const uint lane = thread_idx() % LANES;
  const uint groups = WORKGROUP / LANES;
  const uint first = ((gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * groups + thread_idx() / LANES) * ROWS;
  const uint first_col = gl_WorkGroupID.y * COLS;
  const uint num_rows = args.step.num_rows[args.rows_kind];
  if (first_col >= num_rows) return;  // for the whole workgroup

  float acc[ROWS][COLS];
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    [[unroll]] for (uint c = 0; c < COLS; ++c) acc[r][c] = 0;
  }
  uint64_t rows[ROWS];
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    rows[r] = args.weight + uint64_t(min(first + r, args.n - 1)) * args.row_bytes;
  }
  const uint num_chunks = (args.k + 31) / 32;
  for (uint chunk = lane; chunk < num_chunks; chunk += LANES) {
    Chunk chunks[ROWS];
    if (!IS_PLAIN) {
      [[unroll]] for (uint r = 0; r < ROWS; ++r) chunks[r] = load_chunk(rows[r], chunk);
    }
    [[unroll]] for (uint h = 0; h < 2; ++h) {
      const uint k = chunk * 32 + h * 16;
      vec4 w[ROWS][4];
      [[unroll]] for (uint r = 0; r < ROWS; ++r) {
        if (IS_PLAIN) {
          load_plain16(rows[r], k, args.k, WHOLE, w[r]);
        } else {
          [[unroll]] for (uint i = 0; i < 4; ++i) w[r][i] = integers(chunks[r].q[4 * h + i]);
        }
      }
      [[unroll]] for (uint c = 0; c < COLS; ++c) {
        vec4 x[4];
        load_inputs(min(first_col + c, num_rows - 1), k, x);
        float x_sum = 0;
        if (HAS_MINIMUM) {
          const vec4 s = (x[0] + x[1]) + (x[2] + x[3]);
          x_sum = (s.x + s.y) + (s.z + s.w);
        }
        [[unroll]] for (uint r = 0; r < ROWS; ++r) {
          const float sum = dot16(w[r], x);
          if (IS_PLAIN) {
            acc[r][c] += sum;
          } else {
            acc[r][c] = fma(chunks[r].scale[h], sum, acc[r][c]);
            if (HAS_MINIMUM) acc[r][c] = fma(-chunks[r].minimum[h], x_sum, acc[r][c]);
          }
        }
      }
    }
  }

  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    [[unroll]] for (uint c = 0; c < COLS; ++c) sums[(r * COLS + c) * WORKGROUP + thread_idx()] = acc[r][c];
  }
  // Half of the lanes add the sums of the other half, and so on.
  for (uint half_lanes = LANES / 2; half_lanes > 0; half_lanes /= 2) {
    barrier();
    if (lane < half_lanes) {
      [[unroll]] for (uint i = 0; i < ROWS * COLS; ++i) {
        sums[i * WORKGROUP + thread_idx()] += sums[i * WORKGROUP + thread_idx() + half_lanes];
      }
    }
  }
  barrier();
  // One thread a result.
  for (uint i = lane; i < ROWS * COLS; i += LANES) {
    const uint n = first + i / COLS, col = first_col + i % COLS;
    if (n < args.n && col < num_rows) store_output(col, n, sums[i * WORKGROUP + thread_idx() - lane]);
  }
}
