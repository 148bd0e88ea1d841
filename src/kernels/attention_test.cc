// Attention over paged keys and values against a naive float64 reference, and the promise that a row's bits depend on
// nothing but the row.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/kernels_test_support.h"
#include "tensor/half.h"

namespace lem {
namespace {

struct Shape {
  int64_t num_heads, num_kv_heads, head_dim;
  int64_t first_position, num_rows;
  int64_t window = 0;
  float softcap = 0.0f;

  int64_t context() const { return first_position + num_rows; }
};

std::string Describe(const Shape& s) {
  return "heads " + std::to_string(s.num_heads) + "/" + std::to_string(s.num_kv_heads) + " x " +
         std::to_string(s.head_dim) + " first " + std::to_string(s.first_position) + " rows " +
         std::to_string(s.num_rows) + " window " + std::to_string(s.window) + " softcap " + std::to_string(s.softcap);
}

// A sequence whose KV blocks lie in random order in a pool that is NaN wherever nothing was stored.
struct Sequence {
  Shape shape;
  std::vector<float> q, k, v;  // [num_rows, heads, d], [context, kv_heads, d] twice
  std::vector<int32_t> block_table;
  std::vector<uint16_t> pool;
  KvView kv;

  Sequence(const Shape& s, const KernelTable& store, uint32_t seed) : shape(s) {
    std::mt19937 rng(seed);
    q = RandomFloats(s.num_rows * s.num_heads * s.head_dim, rng);
    k = RandomFloats(s.context() * s.num_kv_heads * s.head_dim, rng);
    v = RandomFloats(s.context() * s.num_kv_heads * s.head_dim, rng);
    const int64_t num_blocks = (s.context() + kKvBlockTokens - 1) / kKvBlockTokens;
    block_table.resize(num_blocks + 2);  // two of the pool's blocks belong to others
    std::iota(block_table.begin(), block_table.end(), 0);
    std::shuffle(block_table.begin(), block_table.end(), rng);
    const int64_t side = s.num_kv_heads * s.head_dim * kKvBlockTokens;  // elements of a block's keys of one layer
    kv.block_bytes = static_cast<size_t>(4 * side) * sizeof(uint16_t);  // two layers; this is the second
    kv.k_offset = static_cast<size_t>(2 * side) * sizeof(uint16_t);
    kv.v_offset = static_cast<size_t>(3 * side) * sizeof(uint16_t);
    pool.assign(static_cast<size_t>(num_blocks + 2) * 4 * side, 0x7E00);
    kv.base = reinterpret_cast<std::byte*>(pool.data());
    kv.block_table = block_table.data();
    kv.num_kv_heads = s.num_kv_heads;
    kv.head_dim = s.head_dim;
    const int64_t token = s.num_kv_heads * s.head_dim;
    for (int64_t p = 0; p < s.context(); ++p) store.store_kv(kv, p, &k[p * token], &v[p * token]);
  }
  Sequence(const Sequence&) = delete;

  AttentionArgs Args() const {
    AttentionArgs args;
    args.kv = kv;
    args.q = q.data();
    args.q_stride = shape.num_heads * shape.head_dim;
    args.num_rows = shape.num_rows;
    args.num_heads = shape.num_heads;
    args.first_position = shape.first_position;
    args.window = shape.window;
    args.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
    args.softcap = shape.softcap;
    return args;
  }
};

// Attention of all rows, in calls of at most `tile_rows` rows; [num_rows, num_heads, head_dim].
std::vector<float> Attend(const KernelTable& table, const AttentionArgs& args, int64_t tile_rows) {
  const int64_t head_dim = args.kv.head_dim, group = args.num_heads / args.kv.num_kv_heads;
  const int64_t stride = AttentionStateFloats(head_dim);
  std::vector<float> out(args.num_rows * args.num_heads * head_dim, GuardedFloats::kSentinel);
  GuardedFloats scratch(AttentionScratchFloats());
  for (int64_t kv_head = 0; kv_head < args.kv.num_kv_heads; ++kv_head) {
    for (int64_t row = 0; row < args.num_rows; row += tile_rows) {
      const int64_t row_end = std::min(row + tile_rows, args.num_rows), num_states = (row_end - row) * group;
      GuardedFloats into(num_states * stride), chunk(num_states * stride);
      std::fill_n(into.data(), num_states * stride, 0.0f);
      for (int64_t s = 0; s < num_states; ++s) into.data()[s * stride] = -std::numeric_limits<float>::infinity();
      const int64_t num_chunks = (args.first_position + row_end + kAttentionChunk - 1) / kAttentionChunk;
      for (int64_t c = 0; c < num_chunks; ++c) {
        std::fill_n(scratch.data(), scratch.size(), std::numeric_limits<float>::quiet_NaN());
        table.attention_chunk(args, kv_head, row, row_end, c, chunk.data(), scratch.data());
        table.attention_merge(into.data(), chunk.data(), num_states, head_dim);
      }
      for (int64_t s = 0; s < num_states; ++s) {
        const int64_t head = kv_head * group + s % group;
        table.attention_finish(into.data() + s * stride, &out[((row + s / group) * args.num_heads + head) * head_dim],
                               head_dim);
      }
    }
  }
  return out;
}

double Stored(float x) { return static_cast<double>(HalfToFloat(FloatToHalf(x))); }

// Checks one row and head against float64 over the stored keys and values.
void ExpectNearReference(const Sequence& seq, const std::vector<float>& out, int64_t row, int64_t head,
                         const std::string& what) {
  const Shape& s = seq.shape;
  const int64_t kv_head = head / (s.num_heads / s.num_kv_heads), position = s.first_position + row;
  const int64_t begin = s.window > 0 ? std::max<int64_t>(0, position + 1 - s.window) : 0;
  const auto key_at = [&](int64_t p) { return (p * s.num_kv_heads + kv_head) * s.head_dim; };
  const float* q = &seq.q[(row * s.num_heads + head) * s.head_dim];
  const auto scale = static_cast<double>(seq.Args().scale), cap = static_cast<double>(s.softcap);
  std::vector<double> score;
  double max_magnitude = 0.0, max_score = -1e300;
  for (int64_t p = begin; p <= position; ++p) {
    double dot = 0.0, magnitude = 0.0;
    for (int64_t d = 0; d < s.head_dim; ++d) {
      const double product = static_cast<double>(q[d]) * Stored(seq.k[key_at(p) + d]);
      dot += product;
      magnitude += std::fabs(product);
    }
    score.push_back(cap > 0 ? cap * std::tanh(dot * scale / cap) : dot * scale);
    max_magnitude = std::max(max_magnitude, magnitude * scale);
    max_score = std::max(max_score, score.back());
  }
  // A score is off by one rounding an element (two where not fused) of its magnitude; that is a relative error of its
  // probability, as are the roundings of exp and of the sums over keys (a chunk's 256 and one a chunk).
  const double relative = 0x1p-24 * (2.0 * static_cast<double>(s.head_dim) * max_magnitude + 16.0 + max_magnitude) +
                          0x1p-24 * (2.0 * kAttentionChunk + 4.0 * static_cast<double>(score.size()) / 256.0 + 20.0);
  for (int64_t d = 0; d < s.head_dim; ++d) {
    double sum = 0.0, weighted = 0.0, magnitude = 0.0;
    for (size_t i = 0; i < score.size(); ++i) {
      const double p = std::exp(score[i] - max_score),
                   value = Stored(seq.v[key_at(begin + static_cast<int64_t>(i)) + d]);
      sum += p;
      weighted += p * value;
      magnitude += p * std::fabs(value);
    }
    const float got = out[(row * s.num_heads + head) * s.head_dim + d];
    ASSERT_NEAR(got, weighted / sum, 2.0 * relative * magnitude / sum + 1e-30)
        << what << " row " << row << " head " << head;
  }
}

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  // Rows around the ends of blocks and chunks, windows within a block, over blocks and over chunks.
  constexpr std::pair<int64_t, int64_t> kRows[] = {{0, 1},    {0, 19},  {15, 1},  {16, 1},
                                                   {250, 13}, {255, 1}, {256, 1}, {530, 3}};
  for (const int64_t window : {0, 1, 20, 300}) {
    for (const auto& [first, rows] : kRows) {
      const float softcap = window == 20 ? 10.0f : 0.0f;
      shapes.push_back({2, 2, 16, first, rows, window, softcap});
      shapes.push_back({3, 1, 80, first, rows, window, softcap});
      shapes.push_back({8, 2, 32, first, rows, window, softcap});
    }
  }
  shapes.push_back({8, 1, 16, 255, 12, 0, 0.0f});
  shapes.push_back({9, 3, 64, 0, 300, 0, 0.0f});
  shapes.push_back({4, 1, 256, 40, 30, 32, 0.0f});
  shapes.push_back({14, 2, 96, 700, 9, 0, 50.0f});
  shapes.push_back({2, 1, 128, 1200, 2, 0, 0.0f});
  shapes.push_back({1, 1, kMaxHeadDim, 33, 3, 0, 0.0f});
  return shapes;
}

TEST(AttentionTest, MatchesFloat64) {
  for (const Shape& shape : Shapes()) {
    for (const KernelTable* table : Tables()) {
      const Sequence seq(shape, *table, 1);
      const int64_t tile_rows = kAttentionMaxStates / (shape.num_heads / shape.num_kv_heads);
      const std::vector<float> out = Attend(*table, seq.Args(), tile_rows);
      for (int64_t row = 0; row < shape.num_rows; row += 1 + shape.num_rows / 8) {
        for (int64_t head = 0; head < shape.num_heads; ++head) {
          ExpectNearReference(seq, out, row, head, std::string(table->name) + " " + Describe(shape));
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(AttentionTest, InstructionSetsOfOneClassGiveTheSameBits) {
  if (FusedTables().size() < 2) GTEST_SKIP() << "this processor has fewer than two instruction sets with fused sums";
  for (const Shape& shape : Shapes()) {
    const Sequence seq(shape, *FusedTables()[0], 2);
    const std::vector<float> want = Attend(*FusedTables()[0], seq.Args(), 3);
    for (const KernelTable* table : FusedTables()) {
      const Sequence own(shape, *table, 2);
      EXPECT_EQ(own.pool, seq.pool) << table->name << " " << Describe(shape);
      EXPECT_TRUE(SameBits(Attend(*table, seq.Args(), 3), want)) << table->name << " " << Describe(shape);
    }
  }
}

// Any number of rows in a call; and prefill in pieces, down to one row at a time, as decode does it.
TEST(AttentionTest, BitsOfARowDoNotDependOnTheBatch) {
  for (const Shape& shape : Shapes()) {
    for (const KernelTable* table : Tables()) {
      const Sequence seq(shape, *table, 3);
      const std::vector<float> want = Attend(*table, seq.Args(), 1);
      const int64_t max_rows = kAttentionMaxStates / (shape.num_heads / shape.num_kv_heads);
      for (const int64_t tile_rows : {int64_t{2}, int64_t{5}, max_rows}) {
        ASSERT_TRUE(SameBits(Attend(*table, seq.Args(), tile_rows), want))
            << table->name << " " << Describe(shape) << " tile " << tile_rows;
      }
      // The last row as the only one of its step.
      AttentionArgs last = seq.Args();
      last.q += (shape.num_rows - 1) * last.q_stride;
      last.first_position += shape.num_rows - 1;
      last.num_rows = 1;
      const std::vector<float> want_last(want.end() - last.q_stride, want.end());
      ASSERT_TRUE(SameBits(Attend(*table, last, 1), want_last)) << table->name << " " << Describe(shape);
    }
  }
}

TEST(AttentionTest, ChunkThatARowDoesNotSeeIsEmpty) {
  const Shape shape = {2, 1, 16, 250, 10, 4, 0.0f};
  for (const KernelTable* table : Tables()) {
    const Sequence seq(shape, *table, 4);
    const int64_t stride = AttentionStateFloats(16);
    GuardedFloats state(20 * stride), scratch(AttentionScratchFloats());
    table->attention_chunk(seq.Args(), 0, 0, 10, 1, state.data(), scratch.data());
    for (int64_t s = 0; s < 20; ++s) {
      const float* values = state.data() + s * stride;
      const bool sees = 250 + s / 2 >= 256;
      EXPECT_EQ(values[0] > -1e30f, sees) << table->name << " state " << s;
      EXPECT_EQ(values[1] > 0.0f, sees);
      if (!sees) {
        for (int64_t d = 0; d < 16; ++d) EXPECT_EQ(values[2 + d], 0.0f);
      }
    }
  }
}

// Scores hundreds apart: one key takes all, nothing overflows.
TEST(AttentionTest, LargeScores) {
  const Shape shape = {1, 1, 16, 299, 1, 0, 0.0f};
  for (const KernelTable* table : Tables()) {
    Sequence seq(shape, *table, 5);
    for (float& x : seq.q) x *= 300.0f;
    const std::vector<float> out = Attend(*table, seq.Args(), 1);
    int64_t best = 0;
    double best_score = -1e300;
    for (int64_t p = 0; p < 300; ++p) {
      double score = 0.0;
      for (int64_t d = 0; d < 16; ++d) score += static_cast<double>(seq.q[d]) * Stored(seq.k[p * 16 + d]);
      if (score > best_score) best_score = score, best = p;
    }
    for (int64_t d = 0; d < 16; ++d) EXPECT_NEAR(out[d], Stored(seq.v[best * 16 + d]), 1e-3) << table->name;
  }
}

TEST(AttentionTest, StoreRoundsToHalfAndSaturates) {
  const Shape shape = {1, 1, 16, 0, 1, 0, 0.0f};
  for (const KernelTable* table : Tables()) {
    Sequence seq(shape, *table, 6);
    std::mt19937 rng(7);
    std::vector<float> k = RandomFloats(16, rng), v = k;
    k[0] = 1e6f, k[1] = -1e6f, v[2] = 65519.0f, v[3] = 1e-9f, v[4] = 3e-8f;
    table->store_kv(seq.kv, 0, k.data(), v.data());
    const auto* keys =
        reinterpret_cast<const uint16_t*>(seq.kv.base + seq.block_table[0] * seq.kv.block_bytes + seq.kv.k_offset);
    const auto* values =
        reinterpret_cast<const uint16_t*>(seq.kv.base + seq.block_table[0] * seq.kv.block_bytes + seq.kv.v_offset);
    EXPECT_EQ(keys[0], 0x7BFF) << table->name;
    EXPECT_EQ(keys[16], 0xFBFF) << table->name;
    for (int64_t d = 2; d < 16; ++d) {
      EXPECT_EQ(keys[d * 16], FloatToHalf(k[d])) << table->name;
      EXPECT_EQ(keys[d * 16 + 1], 0x7E00) << table->name << ": another token's slot";
      EXPECT_EQ(values[d], FloatToHalf(v[d])) << table->name;
    }
  }
}

}  // namespace
}  // namespace lem
