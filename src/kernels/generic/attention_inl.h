// Attention over paged keys and values for one instruction set: included by its attention.cc after its simd.h.
//
// A "state" is one (query row, query head): softmax runs per state. One call handles the states of one kv head, so that
// each key and value, read and widened once, serves all heads of the group and several rows.
//
// What a state's bits depend on is only its own query and keys: each score is one chain of fused multiply-adds over the
// head's elements; maximum and sum run over 16 lanes of keys by position; each output element is one chain over keys
// from the chunk's start. Keys that a tile reads for another state's sake enter as probability +0. That changes
// nothing: the chain starts at +0 and no product or sum rounds to -0 (kExpZeroBelow in math_inl.h), so adding a zero is
// exact. Slots past the last visible key hold garbage, even NaN: their scores are replaced before use, their values not
// read.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/generic/math_inl.h"

namespace lem {
namespace {

constexpr int64_t kChunkBlocks = kAttentionChunk / kKvBlockTokens;
constexpr int kScoreStates = kAttentionSums / 2;             // most states of a score tile
constexpr int kValueStates = kAttentionSums / kValueGroups;  // most states of a value tile
// Row stride of a tile of queries: a constant, so that the addresses of all states need one register. Not a multiple of
// 4 KiB, which would put all states into one cache set.
constexpr int64_t kQueryStride = kMaxHeadDim + 16;
constexpr float kMinusInfinity = -__builtin_inff();

// One kv head of a sequence.
struct HeadView {
  const KvView& kv;
  int64_t kv_head;

  const std::byte* Block(int64_t block) const {
    return kv.base + static_cast<size_t>(kv.block_table[block]) * kv.block_bytes +
           static_cast<size_t>(kv_head * kv.head_dim * kKvBlockTokens) * sizeof(uint16_t);
  }
  // [head_dim, kKvBlockTokens]
  const uint16_t* Keys(int64_t block) const { return reinterpret_cast<const uint16_t*>(Block(block) + kv.k_offset); }
  // [kKvBlockTokens, head_dim]
  const uint16_t* Values(int64_t block) const { return reinterpret_cast<const uint16_t*>(Block(block) + kv.v_offset); }
};

// Keys [begin, end) of a chunk, counted from its start.
struct KeyRange {
  int64_t begin;
  int64_t end;

  bool empty() const { return begin >= end; }
  int64_t first_block() const { return begin / kKvBlockTokens; }
  int64_t end_block() const { return (end + kKvBlockTokens - 1) / kKvBlockTokens; }
};

LEM_INLINE int64_t ClampToChunk(int64_t key) { return key < 0 ? 0 : key > kAttentionChunk ? kAttentionChunk : key; }

// What rows [first, last] see of the chunk together; a window moves on with the rows.
LEM_INLINE KeyRange VisibleKeys(const AttentionArgs& args, int64_t chunk_idx, int64_t first, int64_t last) {
  const int64_t origin = args.first_position - chunk_idx * kAttentionChunk;
  return {args.window > 0 ? ClampToChunk(origin + first + 1 - args.window) : 0, ClampToChunk(origin + last + 1)};
}

// scores[s][16 b + lane] of kStates queries with the keys of kBlocks blocks from `block` on.
// q: [kStates] rows of kQueryStride; scores: [kStates] rows of kAttentionChunk. next: blocks to fetch ahead.
template <int kStates, int kBlocks>
LEM_INLINE void ScoreBlocks(const HeadView& head, const float* q, int64_t block, int64_t last_block, float* scores) {
  const uint16_t* keys[kBlocks];
  const uint16_t* next[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    keys[b] = head.Keys(block + b);
    next[b] = head.Keys(block + kBlocks + b <= last_block ? block + kBlocks + b : last_block);
  }
  F32x16 acc[kStates][kBlocks];
  for (int s = 0; s < kStates; ++s) {
    for (int b = 0; b < kBlocks; ++b) acc[s][b] = Zero();
  }
  for (int64_t d = 0; d < head.kv.head_dim; ++d) {
    F32x16 key[kBlocks];
    for (int b = 0; b < kBlocks; ++b) {
      __builtin_prefetch(next[b] + d * kKvBlockTokens);
      key[b] = LoadHalf(keys[b] + d * kKvBlockTokens);
    }
    for (int s = 0; s < kStates; ++s) {
      const F32x16 query = Set(q[s * kQueryStride + d]);
      for (int b = 0; b < kBlocks; ++b) acc[s][b] = Fma(query, key[b], acc[s][b]);
    }
  }
  for (int s = 0; s < kStates; ++s) {
    for (int b = 0; b < kBlocks; ++b) Store(scores + s * kAttentionChunk + b * kKvBlockTokens, acc[s][b]);
  }
}

// Scores of kStates queries with the chunk's blocks of `range`. first_block: of the chunk, in the block table.
template <int kStates>
void ScoreTile(const HeadView& head, const float* q, int64_t first_block, KeyRange range, float* scores) {
  constexpr int kBlocks = kAttentionSums / kStates < 4 ? kAttentionSums / kStates : 4;
  const int64_t end = range.end_block();
  int64_t b = range.first_block();
  for (; b + kBlocks <= end; b += kBlocks) {
    ScoreBlocks<kStates, kBlocks>(head, q, first_block + b, first_block + end - 1, scores + b * kKvBlockTokens);
  }
  for (; b < end; ++b) {
    ScoreBlocks<kStates, 1>(head, q, first_block + b, first_block + end - 1, scores + b * kKvBlockTokens);
  }
}

// out[s][16 g + lane] = sum over the keys of `range` of p[s][key] * value[key], for elements from d on.
// p: [kStates] rows of kAttentionChunk; out: [kStates] rows of out_stride.
template <int kStates, int kGroups>
void ValueTile(const HeadView& head, const float* p, int64_t first_block, KeyRange range, int64_t d, float* out,
               int64_t out_stride) {
  F32x16 acc[kStates][kGroups];
  for (int s = 0; s < kStates; ++s) {
    for (int g = 0; g < kGroups; ++g) acc[s][g] = Zero();
  }
  const int64_t head_dim = head.kv.head_dim, end_block = range.end_block();
  for (int64_t b = range.first_block(); b < end_block; ++b) {
    const uint16_t* values = head.Values(first_block + b) + d;
    const uint16_t* next = head.Values(first_block + (b + 1 < end_block ? b + 1 : b)) + d;
    const int64_t begin = b * kKvBlockTokens < range.begin ? range.begin : b * kKvBlockTokens;
    const int64_t end = (b + 1) * kKvBlockTokens < range.end ? (b + 1) * kKvBlockTokens : range.end;
    for (int64_t key = begin; key < end; ++key) {
      const int64_t offset = (key - b * kKvBlockTokens) * head_dim;
      F32x16 value[kGroups];
      for (int g = 0; g < kGroups; ++g) {
        if (g % 2 == 0) __builtin_prefetch(next + offset + 16 * g);
        value[g] = LoadHalf(values + offset + 16 * g);
      }
      for (int s = 0; s < kStates; ++s) {
        const F32x16 probability = Set(p[s * kAttentionChunk + key]);
        for (int g = 0; g < kGroups; ++g) acc[s][g] = Fma(probability, value[g], acc[s][g]);
      }
    }
  }
  for (int s = 0; s < kStates; ++s) {
    for (int g = 0; g < kGroups; ++g) Store(out + s * out_stride + 16 * g, acc[s][g]);
  }
}

template <int... kIndexes>
LEM_INLINE void ScoreTileOf(int64_t num_states, const HeadView& head, const float* q, int64_t first_block,
                            KeyRange range, float* scores, std::integer_sequence<int, kIndexes...>) {
  (void)((num_states == kIndexes + 1 && (ScoreTile<kIndexes + 1>(head, q, first_block, range, scores), true)) || ...);
}

template <int kGroups, int... kIndexes>
LEM_INLINE void ValueTileOf(int64_t num_states, const HeadView& head, const float* p, int64_t first_block,
                            KeyRange range, int64_t d, float* out, int64_t out_stride,
                            std::integer_sequence<int, kIndexes...>) {
  (void)((num_states == kIndexes + 1 &&
          (ValueTile<kIndexes + 1, kGroups>(head, p, first_block, range, d, out, out_stride), true)) ||
         ...);
}

// Turns a state's scores of the keys of `own` into e^(score - max), in place, with zeros in the rest of `all`.
// Returns max and sum in state[0..1].
void SoftmaxChunk(const AttentionArgs& args, KeyRange own, KeyRange all, float* scores, float* state) {
  const F32x16 scale = Set(args.scale), cap = Set(args.softcap);
  F32x16 lane_max = Set(kMinusInfinity);
  for (int64_t b = own.first_block(); b < own.end_block(); ++b) {
    const int64_t key = b * kKvBlockTokens;
    F32x16 score = Load(scores + key) * scale;
    if (args.softcap > 0.0f) score = SoftcapOf(score, cap);
    if (key < own.begin || key + kKvBlockTokens > own.end) {
      score = Select(LaneRange(own.begin - key, own.end - key), score, Set(kMinusInfinity));
    }
    Store(scores + key, score);
    lane_max = Max(lane_max, score);
  }
  const float max = ReduceMax(lane_max);
  F32x16 sum = Zero();
  for (int64_t b = all.first_block(); b < all.end_block(); ++b) {
    float* p = scores + b * kKvBlockTokens;
    if (b >= own.first_block() && b < own.end_block()) {
      const F32x16 probability = Exp(Load(p) - Set(max));
      Store(p, probability);
      sum = sum + probability;
    } else {
      Store(p, Zero());
    }
  }
  state[0] = max;
  state[1] = ReduceAdd(sum);
}

// The states of one call: state i is head i % group of row row_begin + i / group.
struct StateSpan {
  const AttentionArgs& args;
  int64_t kv_head;
  int64_t row_begin;
  int64_t chunk_idx;
  int64_t group;

  const float* Query(int64_t i) const {
    return args.q + (row_begin + i / group) * args.q_stride + (kv_head * group + i % group) * args.kv.head_dim;
  }
  KeyRange Keys(int64_t first, int64_t last) const {
    return VisibleKeys(args, chunk_idx, row_begin + first / group, row_begin + last / group);
  }
};

void ComputeScores(const StateSpan& states, const HeadView& head, int64_t num_states, float* scores) {
  alignas(64) float q[kScoreStates * kQueryStride];
  const int64_t num_tiles = (num_states + kScoreStates - 1) / kScoreStates;
  int64_t first = 0;
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t count = (num_states - first) / (num_tiles - tile);
    const KeyRange range = states.Keys(first, first + count - 1);
    if (!range.empty()) {
      for (int64_t s = 0; s < count; ++s) {
        for (int64_t d = 0; d < head.kv.head_dim; d += 16) {
          Store(q + s * kQueryStride + d, Load(states.Query(first + s) + d));
        }
      }
      ScoreTileOf(count, head, q, states.chunk_idx * kChunkBlocks, range, scores + first * kAttentionChunk,
                  std::make_integer_sequence<int, kScoreStates>());
    }
    first += count;
  }
}

template <int... kIndexes>
void ComputeOutputs(const StateSpan& states, const HeadView& head, int64_t num_states, const float* p, float* state,
                    std::integer_sequence<int, kIndexes...>) {
  const int64_t head_dim = head.kv.head_dim, stride = AttentionStateFloats(head_dim);
  const int64_t num_tiles = (num_states + kValueStates - 1) / kValueStates;
  int64_t first = 0;
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t count = (num_states - first) / (num_tiles - tile);
    const KeyRange range = states.Keys(first, first + count - 1);
    for (int64_t d = 0; d < head_dim; d += 16 * kValueGroups) {
      const int64_t groups = (head_dim - d) / 16 < kValueGroups ? (head_dim - d) / 16 : kValueGroups;
      (void)((groups == kIndexes + 1 &&
              (ValueTileOf<kIndexes + 1>(count, head, p + first * kAttentionChunk, states.chunk_idx * kChunkBlocks,
                                         range, d, state + first * stride + 2 + d, stride,
                                         std::make_integer_sequence<int, kValueStates>()),
               true)) ||
             ...);
    }
    first += count;
  }
}

}  // namespace

template <>
void Ops<kIsa>::AttentionChunk(const AttentionArgs& args, int64_t kv_head, int64_t row_begin, int64_t row_end,
                               int64_t chunk_idx, float* state, float* scratch) noexcept {
  const int64_t group = args.num_heads / args.kv.num_kv_heads, num_states = (row_end - row_begin) * group;
  const HeadView head = {args.kv, kv_head};
  const StateSpan states = {args, kv_head, row_begin, chunk_idx, group};
  const KeyRange all = states.Keys(0, num_states - 1);
  const int64_t stride = AttentionStateFloats(args.kv.head_dim);
  ComputeScores(states, head, num_states, scratch);
  for (int64_t i = 0; i < num_states; ++i) {
    const KeyRange own = states.Keys(i, i);
    if (own.empty()) {
      state[i * stride] = kMinusInfinity;
      state[i * stride + 1] = 0.0f;
      for (int64_t b = all.first_block(); b < all.end_block(); ++b) {
        Store(scratch + i * kAttentionChunk + b * kKvBlockTokens, Zero());
      }
    } else {
      SoftmaxChunk(args, own, all, scratch + i * kAttentionChunk, state + i * stride);
    }
  }
  ComputeOutputs(states, head, num_states, scratch, state, std::make_integer_sequence<int, kValueGroups>());
}

template <>
void Ops<kIsa>::AttentionMerge(float* into, const float* chunk, int64_t num_states, int64_t head_dim) noexcept {
  const int64_t stride = AttentionStateFloats(head_dim);
  for (int64_t s = 0; s < num_states; ++s, into += stride, chunk += stride) {
    if (chunk[0] == kMinusInfinity) continue;
    if (into[0] == kMinusInfinity) {
      std::memcpy(into, chunk, static_cast<size_t>(stride) * sizeof(float));
      continue;
    }
    const F32x16 max = Max(Set(into[0]), Set(chunk[0]));
    const F32x16 into_factor = Exp(Set(into[0]) - max), chunk_factor = Exp(Set(chunk[0]) - max);
    StoreFirst(into, max, 1);
    StoreFirst(into + 1, Fma(Set(chunk[1]), chunk_factor, Set(into[1]) * into_factor), 1);
    for (int64_t d = 2; d < stride; d += 16) {
      Store(into + d, Fma(Load(chunk + d), chunk_factor, Load(into + d) * into_factor));
    }
  }
}

template <>
void Ops<kIsa>::AttentionFinish(const float* state, float* out, int64_t head_dim) noexcept {
  for (int64_t d = 0; d < head_dim; d += 16) Store(out + d, Load(state + 2 + d) / Set(state[1]));
}

template <>
void Ops<kIsa>::StoreKv(const KvView& kv, int64_t position, const float* k, const float* v) noexcept {
  // A value past float16's range is stored as the largest one: an infinity would turn later rows into NaN.
  const F32x16 most = Set(65504.0f), least = Set(-65504.0f);
  const auto half = [&](const float* p) LEM_INLINE_LAMBDA { return Max(least, Min(most, Load(p))); };
  const int64_t slot = position % kKvBlockTokens;
  for (int64_t kv_head = 0; kv_head < kv.num_kv_heads; ++kv_head) {
    const HeadView head = {kv, kv_head};
    auto* keys = const_cast<uint16_t*>(head.Keys(position / kKvBlockTokens));
    auto* values = const_cast<uint16_t*>(head.Values(position / kKvBlockTokens));
    for (int64_t d = 0; d < kv.head_dim; d += 16) {
      uint16_t column[16];
      StoreHalf(column, half(k + kv_head * kv.head_dim + d));
      for (int64_t i = 0; i < 16; ++i) keys[(d + i) * kKvBlockTokens + slot] = column[i];
      StoreHalf(values + slot * kv.head_dim + d, half(v + kv_head * kv.head_dim + d));
    }
  }
}

}  // namespace lem
