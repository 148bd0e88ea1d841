// Paged causal attention in one pass over the keys (flash attention).
//
// A workgroup attends for up to ROWS rows of one sequence and HEADS query heads that share a kv head: STATES = ROWS *
// HEADS softmax states. Keys come in tiles of WORKGROUP tokens, aligned to absolute positions. In a tile, each thread
// first scores one key against every state, then sums values for its own columns of every state. A state's result
// depends on that state's row alone: tiles and keys that a row does not see change nothing, not even by rounding.
// Grid: x kv_head * (group / HEADS) + part of the group, y attention tiles of the step.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"
#include "kv.glsl"

layout(constant_id = 1) const uint HEAD_DIM = 64;  // a multiple of 16
layout(constant_id = 2) const uint HEADS = 1;
layout(constant_id = 3) const uint ROWS = 1;
const uint STATES = HEADS * ROWS;  // at most WORKGROUP
const uint PAIRS = HEAD_DIM / 2;   // of columns; a thread sums pairs thread, thread + WORKGROUP...
const uint MY_PAIRS = (PAIRS + WORKGROUP - 1) / WORKGROUP;

const float LOWEST = -3.0e38;  // the maximum of nothing

layout(push_constant, scalar) uniform Args {
  StepHeader step;
  uint64_t q_rows;  // float [T, num_heads, HEAD_DIM]
  uint64_t out_rows;
  uint q_stride;
  uint out_stride;
  uint k_offset;
  uint v_offset;
  uint group;   // query heads of a kv head
  uint window;  // 0 = all
  float scale;
  float softcap;  // 0 = off
} args;

shared vec4 queries[STATES * (HEAD_DIM / 4)];
shared float scores[STATES * WORKGROUP];
shared float maxima[STATES];
shared float corrections[STATES];  // what the sums so far are multiplied with

float soft_capped(float score) {
  const float e = exp(-2.0 * abs(score / args.softcap));
  return args.softcap * sign(score) * (1.0 - e) / (1.0 + e);
}

// The first position that a row at `position` sees.
uint first_seen(uint position) {
  return args.window > 0 && position + 1 > args.window ? position + 1 - args.window : 0;
}

void main() {
  if (gl_WorkGroupID.y >= args.step.num_attention_tiles) return;
  const AttentionTile tile = args.step.attention_tiles.at[gl_WorkGroupID.y];
  const uint parts = args.group / HEADS;
  const uint kv_head = gl_WorkGroupID.x / parts;
  const uint first_head = kv_head * args.group + gl_WorkGroupID.x % parts * HEADS;
  const uint num_states = min(tile.num_rows, ROWS) * HEADS;
  const uint lane = thread_idx();
  const StepRow first_row = args.step.rows.at[tile.row_begin];
  const uint last_position = first_row.position + min(tile.num_rows, ROWS) - 1;
  const uint seen_begin = first_seen(first_row.position);

  for (uint i = lane; i < num_states * (HEAD_DIM / 4); i += WORKGROUP) {
    const uint s = i / (HEAD_DIM / 4);
    const uint64_t row = args.q_rows + uint64_t(tile.row_begin + s / HEADS) * args.q_stride * 4;
    queries[i] = Vec4s(row + uint64_t(first_head + s % HEADS) * HEAD_DIM * 4).at[i % (HEAD_DIM / 4)];
  }
  if (lane < STATES) maxima[lane] = LOWEST;

  float exp_sums[STATES];  // over this thread's keys
  vec2 mixed[STATES][MY_PAIRS];
  [[unroll]] for (uint s = 0; s < STATES; ++s) {
    exp_sums[s] = 0;
    [[unroll]] for (uint j = 0; j < MY_PAIRS; ++j) mixed[s][j] = vec2(0);
  }

  for (uint tile_begin = seen_begin / WORKGROUP * WORKGROUP; tile_begin <= last_position; tile_begin += WORKGROUP) {
    const uint position = tile_begin + lane;
    const bool is_key = position >= seen_begin && position <= last_position;
    float score[STATES];
    [[unroll]] for (uint s = 0; s < STATES; ++s) score[s] = 0;
    barrier();  // queries are there; the last tile's scores are used up
    if (is_key) {
      const uint64_t block = args.step.kv_blocks.at[first_row.kv_block_begin + position / KV_BLOCK_TOKENS];
      Shorts keys = Shorts(block + args.k_offset);
      const uint key_begin = kv_head * HEAD_DIM * KV_BLOCK_TOKENS + position % KV_BLOCK_TOKENS;
      for (uint d = 0; d < HEAD_DIM / 4; ++d) {
        vec4 key;
        [[unroll]] for (uint j = 0; j < 4; ++j) {
          key[j] = unpackHalf2x16(uint(keys.at[key_begin + (4 * d + j) * KV_BLOCK_TOKENS])).x;
        }
        [[unroll]] for (uint s = 0; s < STATES; ++s) {
          const vec4 query = queries[s * (HEAD_DIM / 4) + d];
          score[s] = fma(query.x, key.x, score[s]);
          score[s] = fma(query.y, key.y, score[s]);
          score[s] = fma(query.z, key.z, score[s]);
          score[s] = fma(query.w, key.w, score[s]);
        }
      }
    }
    [[unroll]] for (uint s = 0; s < STATES; ++s) {
      const uint row_position = first_row.position + s / HEADS;
      const bool sees = is_key && s < num_states && position <= row_position && position >= first_seen(row_position);
      score[s] *= args.scale;
      if (args.softcap > 0) score[s] = soft_capped(score[s]);
      score[s] = sees ? score[s] : LOWEST;
      scores[s * WORKGROUP + lane] = score[s];
    }
    barrier();
    if (lane < num_states) {
      float maximum = maxima[lane];
      const float before = maximum;
      for (uint i = 0; i < WORKGROUP; ++i) maximum = max(maximum, scores[lane * WORKGROUP + i]);
      maxima[lane] = maximum;
      corrections[lane] = before == maximum ? 1.0 : before == LOWEST ? 0.0 : exp(before - maximum);
    }
    barrier();
    [[unroll]] for (uint s = 0; s < STATES; ++s) {
      if (s < num_states) {
        const float weight = score[s] == LOWEST ? 0.0 : exp(score[s] - maxima[s]);
        scores[s * WORKGROUP + lane] = weight;
        const float correction = corrections[s];
        exp_sums[s] = fma(exp_sums[s], correction, weight);
        [[unroll]] for (uint j = 0; j < MY_PAIRS; ++j) mixed[s][j] *= correction;
      }
    }
    barrier();
    const uint begin = max(seen_begin, tile_begin), end = min(last_position + 1, tile_begin + WORKGROUP);
    for (uint p = begin; p < end; ++p) {
      const uint64_t block = args.step.kv_blocks.at[first_row.kv_block_begin + p / KV_BLOCK_TOKENS];
      Uints values = Uints(block + args.v_offset);
      const uint value_begin = (kv_head * KV_BLOCK_TOKENS + p % KV_BLOCK_TOKENS) * PAIRS;
      [[unroll]] for (uint j = 0; j < MY_PAIRS; ++j) {
        const uint pair = lane + j * WORKGROUP;
        if (pair < PAIRS) {
          const vec2 value = unpackHalf2x16(values.at[value_begin + pair]);
          [[unroll]] for (uint s = 0; s < STATES; ++s) {
            const float weight = scores[s * WORKGROUP + p - tile_begin];
            mixed[s][j] = fma(vec2(weight), value, mixed[s][j]);
          }
        }
      }
    }
  }

  barrier();
  [[unroll]] for (uint s = 0; s < STATES; ++s) scores[s * WORKGROUP + lane] = exp_sums[s];
  barrier();
  if (lane < num_states) {
    float sum = 0;
    for (uint i = 0; i < WORKGROUP; ++i) sum += scores[lane * WORKGROUP + i];
    corrections[lane] = 1.0 / sum;
  }
  barrier();
  [[unroll]] for (uint s = 0; s < STATES; ++s) {
    if (s < num_states) {
      const uint64_t row = args.out_rows + uint64_t(tile.row_begin + s / HEADS) * args.out_stride * 4;
      Floats out_head = Floats(row + uint64_t(first_head + s % HEADS) * HEAD_DIM * 4);
      [[unroll]] for (uint j = 0; j < MY_PAIRS; ++j) {
        const uint pair = lane + j * WORKGROUP;
        if (pair < PAIRS) {
          const vec2 result = mixed[s][j] * corrections[s];
          out_head.at[2 * pair] = result.x;
          out_head.at[2 * pair + 1] = result.y;
        }
      }
    }
  }
}
