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
//
// Few states (decode) read keys and values as they are stored, and wait for memory. Many (prompts) work from panels: a
// few blocks widened to float32 once for all states. Both form the same chains.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/generic/math_inl.h"

namespace lem {
namespace {

constexpr int64_t kChunkBlocks = kAttentionChunk / kKvBlockTokens;
constexpr int kScoreStates = kAttentionSums / 2;             // most states of a score tile
constexpr int kValueStates = kAttentionSums / kValueGroups;  // most states of a value tile
// States of a panel's score tile: with as many blocks as the value tile has groups, loads keep up with the sums.
constexpr int kPanelScoreStates = kValueStates < kScoreStates ? kValueStates : kScoreStates;
// From so many states on, widening keys and values once for all of them pays.
constexpr int64_t kPanelStates = 16;
// Row stride of the queries: a constant, so that the addresses of all states need one register. Not a multiple of 4
// KiB, which would put all states into one cache set.
constexpr int64_t kQueryStride = kAttentionQueryStride;
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

// Keys and values where they are stored. Memory answers after the time of hundreds of products, so all is fetched
// ahead: a block's values while its keys are multiplied, the next call's keys while values are.
struct StoredBlocks {
  const HeadView& head;
  int64_t first_block;                       // of the chunk, in the block table
  int64_t end_block;                         // of what is read, counted from the chunk's start
  int64_t next_first_block, next_end_block;  // of what the next call reads; empty if that is not known

  using Element = uint16_t;
  static constexpr bool kFetchAhead = true;
  const uint16_t* Keys(int64_t b) const { return head.Keys(first_block + b); }
  const uint16_t* Values(int64_t b) const { return head.Values(first_block + b); }
  const uint16_t* KeysAfter(int64_t b) const { return Keys(b < end_block ? b : end_block - 1); }
  const uint16_t* KeysOfNextCall(int64_t b) const {
    const int64_t block = next_first_block + b;
    return block < next_end_block ? head.Keys(block) : Values(b);
  }
};
LEM_INLINE F32x16 LoadElements(const uint16_t* p) { return LoadHalf(p); }

// Blocks from begin_block on, widened, in the layout that they are stored in.
struct PanelBlocks {
  const float* panel;
  int64_t block_floats;
  int64_t begin_block;

  using Element = float;
  static constexpr bool kFetchAhead = false;
  const float* Keys(int64_t b) const { return panel + (b - begin_block) * block_floats; }
  const float* Values(int64_t b) const { return Keys(b); }
  const float* KeysAfter(int64_t b) const { return Keys(b); }
  const float* KeysOfNextCall(int64_t b) const { return Keys(b); }
};
LEM_INLINE F32x16 LoadElements(const float* p) { return Load(p); }

// Most blocks of a panel: 16 KiB of float32 beside the queries in the nearest cache, and at least the four blocks that
// a tile of scores takes side by side.
LEM_INLINE int64_t PanelBlockCount(int64_t head_dim) {
  const int64_t fitting = 4096 / (head_dim * kKvBlockTokens);
  return fitting < kAttentionPanelBlocks ? kAttentionPanelBlocks : fitting < kChunkBlocks ? fitting : kChunkBlocks;
}

// panel = the block's keys or values in float32.
LEM_INLINE void Widen(const uint16_t* stored, const uint16_t* next, int64_t num_elements, float* panel) {
  for (int64_t i = 0; i < num_elements; i += 32) {
    __builtin_prefetch(next + i);
    Store(panel + i, LoadHalf(stored + i));
    Store(panel + i + 16, LoadHalf(stored + i + 16));
  }
}

// scores[s][16 b + lane] of kStates queries with the keys of kBlocks blocks of the chunk from `block` on.
// q: [kStates] rows of kQueryStride; scores: [kStates] rows of kAttentionChunk.
template <int kStates, int kBlocks, typename Blocks>
LEM_INLINE void ScoreBlocks(const Blocks& blocks, int64_t head_dim, const float* q, int64_t block, float* scores) {
  const typename Blocks::Element* keys[kBlocks];
  const typename Blocks::Element* next[kBlocks];
  const typename Blocks::Element* values[kBlocks];  // as large as the keys
  for (int b = 0; b < kBlocks; ++b) {
    keys[b] = blocks.Keys(block + b);
    next[b] = blocks.KeysAfter(block + kBlocks + b);
    values[b] = blocks.Values(block + b);
  }
  F32x16 acc[kStates][kBlocks];
  for (int s = 0; s < kStates; ++s) {
    for (int b = 0; b < kBlocks; ++b) acc[s][b] = Zero();
  }
  const auto add = [&](int64_t d) LEM_INLINE_LAMBDA {
    F32x16 key[kBlocks];
    for (int b = 0; b < kBlocks; ++b) key[b] = LoadElements(keys[b] + d * kKvBlockTokens);
    for (int s = 0; s < kStates; ++s) {
      const F32x16 query = Set(q[s * kQueryStride + d]);
      for (int b = 0; b < kBlocks; ++b) acc[s][b] = Fma(query, key[b], acc[s][b]);
    }
  };
  for (int64_t d = 0; d < head_dim; d += 2) {
    if constexpr (Blocks::kFetchAhead) {
      for (int b = 0; b < kBlocks; ++b) {
        __builtin_prefetch(next[b] + d * kKvBlockTokens);
        __builtin_prefetch(values[b] + d * kKvBlockTokens);
      }
    }
    add(d);
    add(d + 1);
  }
  for (int s = 0; s < kStates; ++s) {
    for (int b = 0; b < kBlocks; ++b) Store(scores + s * kAttentionChunk + b * kKvBlockTokens, acc[s][b]);
  }
}

// Scores of kStates queries with the chunk's blocks [begin, end).
template <int kStates, typename Blocks>
void ScoreTile(const Blocks& blocks, int64_t head_dim, const float* q, int64_t begin, int64_t end, float* scores) {
  constexpr int kBlocks = kAttentionSums / kStates < 4 ? kAttentionSums / kStates : 4;
  int64_t b = begin;
  for (; b + kBlocks <= end; b += kBlocks) {
    ScoreBlocks<kStates, kBlocks>(blocks, head_dim, q, b, scores + b * kKvBlockTokens);
  }
  for (; b < end; ++b) ScoreBlocks<kStates, 1>(blocks, head_dim, q, b, scores + b * kKvBlockTokens);
}

// out[s][16 g + lane] = (resume ? what is there : 0) + the sum over the keys of `range` of p[s][key] * value[key], for
// elements from d on. p: [kStates] rows of kAttentionChunk; out: [kStates] rows of out_stride.
template <int kStates, int kGroups, typename Blocks>
void ValueTile(const Blocks& blocks, int64_t head_dim, const float* p, KeyRange range, bool resume, int64_t d,
               float* out, int64_t out_stride) {
  F32x16 acc[kStates][kGroups];
  for (int s = 0; s < kStates; ++s) {
    for (int g = 0; g < kGroups; ++g) acc[s][g] = resume ? Load(out + s * out_stride + int64_t{16} * g) : Zero();
  }
  const int64_t end_block = range.end_block();
  for (int64_t b = range.first_block(); b < end_block; ++b) {
    const typename Blocks::Element* values = blocks.Values(b) + d;
    const typename Blocks::Element* next = blocks.KeysOfNextCall(b) + d;  // as large as the values
    const int64_t begin = b * kKvBlockTokens < range.begin ? range.begin : b * kKvBlockTokens;
    const int64_t end = (b + 1) * kKvBlockTokens < range.end ? (b + 1) * kKvBlockTokens : range.end;
    for (int64_t key = begin; key < end; ++key) {
      const int64_t offset = (key - b * kKvBlockTokens) * head_dim;
      F32x16 value[kGroups];
      for (int g = 0; g < kGroups; ++g) {
        if (Blocks::kFetchAhead && g % 2 == 0) __builtin_prefetch(next + offset + 16 * g);
        value[g] = LoadElements(values + offset + 16 * g);
      }
      for (int s = 0; s < kStates; ++s) {
        const F32x16 probability = Set(p[s * kAttentionChunk + key]);
        for (int g = 0; g < kGroups; ++g) acc[s][g] = Fma(probability, value[g], acc[s][g]);
      }
    }
  }
  for (int s = 0; s < kStates; ++s) {
    for (int g = 0; g < kGroups; ++g) Store(out + s * out_stride + int64_t{16} * g, acc[s][g]);
  }
}

template <typename Blocks, int... kIndexes>
LEM_INLINE void ScoreTileOf(int64_t num_states, const Blocks& blocks, int64_t head_dim, const float* q, int64_t begin,
                            int64_t end, float* scores, std::integer_sequence<int, kIndexes...>) {
  (void)((num_states == kIndexes + 1 && (ScoreTile<kIndexes + 1>(blocks, head_dim, q, begin, end, scores), true)) ||
         ...);
}

template <int kGroups, typename Blocks, int... kIndexes>
LEM_INLINE void ValueTileOf(int64_t num_states, const Blocks& blocks, int64_t head_dim, const float* p, KeyRange range,
                            bool resume, int64_t d, float* out, int64_t out_stride,
                            std::integer_sequence<int, kIndexes...>) {
  (void)((num_states == kIndexes + 1 &&
          (ValueTile<kIndexes + 1, kGroups>(blocks, head_dim, p, range, resume, d, out, out_stride), true)) ||
         ...);
}

// ValueTile for all elements of the head.
template <typename Blocks, int... kIndexes>
LEM_INLINE void ValueTiles(int64_t num_states, const Blocks& blocks, int64_t head_dim, const float* p, KeyRange range,
                           bool resume, float* out, int64_t out_stride, std::integer_sequence<int, kIndexes...>) {
  for (int64_t d = 0; d < head_dim; d += int64_t{16} * kValueGroups) {
    const int64_t groups = (head_dim - d) / 16 < kValueGroups ? (head_dim - d) / 16 : kValueGroups;
    (void)((groups == kIndexes + 1 &&
            (ValueTileOf<kIndexes + 1>(num_states, blocks, head_dim, p, range, resume, d, out + d, out_stride,
                                       std::make_integer_sequence<int, kValueStates>()),
             true)) ||
           ...);
  }
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
  // That hold keys.
  int64_t num_blocks() const { return (args.first_position + args.num_rows - 1) / kKvBlockTokens + 1; }
  KeyRange Keys(int64_t first, int64_t last) const {
    return VisibleKeys(args, chunk_idx, row_begin + first / group, row_begin + last / group);
  }
};

// Calls body(first, count) for tiles of nearly equal height, at most `most`, of num_states states.
template <typename Body>
LEM_INLINE void ForEachTile(int64_t num_states, int64_t most, Body&& body) {
  const int64_t num_tiles = (num_states + most - 1) / most;
  int64_t first = 0;
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t count = (num_states - first) / (num_tiles - tile);
    body(first, count);
    first += count;
  }
}

LEM_INLINE KeyRange Intersect(KeyRange range, int64_t begin, int64_t end) {
  return {range.begin < begin ? begin : range.begin, range.end > end ? end : range.end};
}

// How the chunk is worked through, from its stored blocks or panel by panel.
struct ChunkWork {
  const StateSpan& states;
  const HeadView& head;
  int64_t num_states;
  KeyRange all;    // what any of the states sees
  float* scores;   // [num_states, kAttentionChunk]; then probabilities
  float* queries;  // [num_states, kQueryStride]
  float* panel;
  float* state;  // as AttentionChunk's

  int64_t head_dim() const { return head.kv.head_dim; }
  bool panels() const { return num_states >= kPanelStates; }
  int64_t first_block() const { return states.chunk_idx * kChunkBlocks; }

  // Calls body(blocks, begin, end) for the chunk's blocks [begin, end): all, or those of one panel after the other.
  template <typename Stored, typename Body>
  LEM_INLINE void ForBlocks(Stored stored, Body&& body) const {
    const int64_t begin = all.first_block(), end = all.end_block();
    if (!panels()) {
      const int64_t next = states.args.next_chunk * kChunkBlocks;
      const int64_t next_end = states.args.next_chunk < 0 ? next : std::min(next + kChunkBlocks, states.num_blocks());
      return body(StoredBlocks{head, first_block(), end, next, next_end}, begin, end);
    }
    const int64_t block_floats = head_dim() * kKvBlockTokens, most = PanelBlockCount(head_dim());
    for (int64_t b = begin; b < end; b += most) {
      const int64_t panel_end = b + most < end ? b + most : end;
      for (int64_t i = b; i < panel_end; ++i) {
        const int64_t next = i + most < end ? i + most : end - 1;
        Widen(stored(first_block() + i), stored(first_block() + next), block_floats, panel + (i - b) * block_floats);
      }
      body(PanelBlocks{panel, block_floats, b}, b, panel_end);
    }
  }

  void ComputeScores() const {
    for (int64_t s = 0; s < num_states; ++s) {
      const float* q = states.Query(s);
      for (int64_t d = 0; d < head_dim(); d += 16) Store(queries + s * kQueryStride + d, Load(q + d));
    }
    ForBlocks([&](int64_t block) LEM_INLINE_LAMBDA { return head.Keys(block); },
              [&](const auto& blocks, int64_t begin, int64_t end) LEM_INLINE_LAMBDA {
                const int64_t most = panels() ? kPanelScoreStates : kScoreStates;
                ForEachTile(num_states, most, [&](int64_t first, int64_t count) LEM_INLINE_LAMBDA {
                  const KeyRange range = states.Keys(first, first + count - 1);
                  if (range.empty()) return;
                  const int64_t from = range.first_block() < begin ? begin : range.first_block();
                  const int64_t to = range.end_block() > end ? end : range.end_block();
                  ScoreTileOf(count, blocks, head_dim(), queries + first * kQueryStride, from, to,
                              scores + first * kAttentionChunk, std::make_integer_sequence<int, kScoreStates>());
                });
              });
  }

  void ComputeOutputs() const {
    const int64_t stride = AttentionStateFloats(head_dim());
    ForBlocks([&](int64_t block) LEM_INLINE_LAMBDA { return head.Values(block); },
              [&](const auto& blocks, int64_t begin, int64_t end) LEM_INLINE_LAMBDA {
                ForEachTile(num_states, kValueStates, [&](int64_t first, int64_t count) LEM_INLINE_LAMBDA {
                  const KeyRange range =
                      Intersect(states.Keys(first, first + count - 1), begin * kKvBlockTokens, end * kKvBlockTokens);
                  const bool resume = begin > all.first_block();
                  if (range.empty() && resume) return;
                  ValueTiles(count, blocks, head_dim(), scores + first * kAttentionChunk,
                             range.empty() ? KeyRange{0, 0} : range, resume, state + first * stride + 2, stride,
                             std::make_integer_sequence<int, kValueGroups>());
                });
              });
  }
};

}  // namespace

template <>
void Ops<kIsa>::AttentionChunk(const AttentionArgs& args, int64_t kv_head, int64_t row_begin, int64_t row_end,
                               int64_t chunk_idx, float* state, float* scratch) noexcept {
  const int64_t group = args.num_heads / args.kv.num_kv_heads, num_states = (row_end - row_begin) * group;
  const HeadView head = {args.kv, kv_head};
  const StateSpan states = {args, kv_head, row_begin, chunk_idx, group};
  const KeyRange all = states.Keys(0, num_states - 1);
  const int64_t stride = AttentionStateFloats(args.kv.head_dim);
  if (all.empty()) {
    std::memset(state, 0, static_cast<size_t>(num_states * stride) * sizeof(float));
    for (int64_t i = 0; i < num_states; ++i) state[i * stride] = kMinusInfinity;
    return;
  }
  float* aligned = scratch + (64 - reinterpret_cast<uintptr_t>(scratch) % 64) % 64 / sizeof(float);
  float* queries = aligned + num_states * kAttentionChunk;
  const ChunkWork work = {states, head, num_states, all, aligned, queries, queries + num_states * kQueryStride, state};
  scratch = aligned;
  work.ComputeScores();
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
  work.ComputeOutputs();
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
