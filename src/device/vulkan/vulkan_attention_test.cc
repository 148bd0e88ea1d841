// Paged attention of the Vulkan device against a double softmax over the float16 keys and values of its cache.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "device/vulkan/testing/vulkan_test_device.h"
#include "tensor/half.h"

namespace lem {
namespace {

struct AttentionCase {
  int64_t num_heads = 4, num_kv_heads = 2, head_dim = 32;
  std::vector<TestStep::Sequence> sequences;
  int64_t window = 0;
  float softcap = 0;
  int64_t extra_max_tokens = 0;  // a larger bucket: other tiles
};

// Values that depend on the sequence's seed and the position alone, so that cases can share sequences.
float ValueAt(uint32_t kind, int64_t seed, int64_t position, int64_t column) {
  std::mt19937 random(static_cast<uint32_t>(((seed * 1000003 + position) * 8191 + column) * 4 + kind));
  random.discard(3);
  return static_cast<float>(random() % 20001) / 10000.0f - 1.0f;
}

struct AttentionResult {
  std::vector<float> out;  // [T, num_heads * head_dim]
  std::vector<double> expected;
};

// `seeds` names the sequences; those with one name have the same queries, keys and values.
AttentionResult RunAttention(VulkanContext& context, const AttentionCase& c, std::vector<int64_t> seeds = {}) {
  const int64_t cols = c.num_heads * c.head_dim, kv_cols = c.num_kv_heads * c.head_dim;
  const size_t half_block = static_cast<size_t>(kv_cols) * 16 * 2, k_offset = 32, v_offset = k_offset + half_block;
  const size_t block_bytes = v_offset + half_block;
  int64_t num_rows = 0;
  for (const auto& sequence : c.sequences) num_rows += sequence.num_rows;
  const int64_t max_tokens = num_rows + 3 + c.extra_max_tokens;
  const int64_t tile_rows = AttentionTileRows(max_tokens, c.num_heads, c.num_kv_heads, c.head_dim);
  TestStep step(context, c.sequences, {}, {}, block_bytes, tile_rows, {}, 3 + c.extra_max_tokens);
  while (seeds.size() < c.sequences.size()) seeds.push_back(static_cast<int64_t>(seeds.size()));

  const float scale = 1.3f / std::sqrt(static_cast<float>(c.head_dim));
  const int64_t group = c.num_heads / c.num_kv_heads;
  std::vector<float> queries;
  std::vector<double> expected;
  for (size_t s = 0; s < c.sequences.size(); ++s) {
    const auto& sequence = c.sequences[s];
    const int64_t end = sequence.first_position + sequence.num_rows;
    if (sequence.num_rows == 0) continue;
    std::vector<double> k, v;  // [position, kv_cols]
    for (int64_t begin = 0; begin < end; begin += 16) {
      std::vector<std::byte> block(block_bytes, std::byte{0xFF});  // past the context: NaNs
      for (int64_t p = begin; p < std::min(end, begin + 16); ++p) {
        for (int64_t i = 0; i < kv_cols; ++i) {
          const uint16_t key = FloatToHalf(2 * ValueAt(1, seeds[s], p, i)),
                         value = FloatToHalf(ValueAt(2, seeds[s], p, i));
          const int64_t head = i / c.head_dim, d = i % c.head_dim;
          std::memcpy(&block[k_offset + 2 * static_cast<size_t>((head * c.head_dim + d) * 16 + p % 16)], &key, 2);
          std::memcpy(&block[v_offset + 2 * static_cast<size_t>((head * 16 + p % 16) * c.head_dim + d)], &value, 2);
          k.push_back(static_cast<double>(HalfToFloat(key)));
          v.push_back(static_cast<double>(HalfToFloat(value)));
        }
      }
      step.WriteBlock(s, begin, block);
    }
    for (int64_t p = sequence.first_position; p < end; ++p) {
      std::vector<double> query;
      for (int64_t i = 0; i < cols; ++i) {
        queries.push_back(2 * ValueAt(0, seeds[s], p, i));
        query.push_back(static_cast<double>(queries.back()));
      }
      const int64_t first = c.window > 0 ? std::max<int64_t>(0, p - c.window + 1) : 0;
      for (int64_t head = 0; head < c.num_heads; ++head) {
        std::vector<double> mixed(static_cast<size_t>(c.head_dim), 0.0), scores;
        double max = -std::numeric_limits<double>::infinity(), sum = 0;
        for (int64_t j = first; j <= p; ++j) {
          double score = 0;
          for (int64_t d = 0; d < c.head_dim; ++d) {
            score += query[static_cast<size_t>(head * c.head_dim + d)] *
                     k[static_cast<size_t>(j * kv_cols + head / group * c.head_dim + d)];
          }
          score *= static_cast<double>(scale);
          if (c.softcap > 0) score = static_cast<double>(c.softcap) * std::tanh(score / static_cast<double>(c.softcap));
          scores.push_back(score);
          max = std::max(max, score);
        }
        for (int64_t j = first; j <= p; ++j) {
          const double weight = std::exp(scores[static_cast<size_t>(j - first)] - max);
          sum += weight;
          for (int64_t d = 0; d < c.head_dim; ++d) {
            mixed[static_cast<size_t>(d)] +=
                weight * v[static_cast<size_t>(j * kv_cols + head / group * c.head_dim + d)];
          }
        }
        for (const double value : mixed) expected.push_back(value / sum);
      }
    }
  }
  const DeviceMatrix q(context, num_rows, cols, queries);
  DeviceMatrix out(context, num_rows + 2, cols);
  step.Run([&](VulkanRecorder& recorder) {
    RecordAttention(recorder, {.kv = {.k_offset = static_cast<uint32_t>(k_offset),
                                      .v_offset = static_cast<uint32_t>(v_offset),
                                      .num_kv_heads = static_cast<uint32_t>(c.num_kv_heads),
                                      .head_dim = static_cast<uint32_t>(c.head_dim)},
                               .q = q.address(),
                               .out = out.address(),
                               .q_stride = q.stride(),
                               .out_stride = out.stride(),
                               .num_heads = static_cast<uint32_t>(c.num_heads),
                               .window = static_cast<uint32_t>(c.window),
                               .scale = scale,
                               .softcap = c.softcap});
  });
  return {out.Read(num_rows), std::move(expected)};
}

// One pipeline for a shape and a kind of bucket; contexts, windows and soft caps are run-time values.
using VulkanAttentionTest = VulkanTest;

constexpr double kAttentionError = 1e-10;

TEST_F(VulkanAttentionTest, ContextsAroundTilesAndBlocks) {
  for (const int64_t context_tokens : {1, 15, 16, 17, 31, 32, 33, 65, 300}) {
    const auto result = RunAttention(context(), {.sequences = {{context_tokens - 1, 1}}});
    EXPECT_LE(NormalisedError(result.out, result.expected), kAttentionError) << context_tokens;
  }
}

TEST_F(VulkanAttentionTest, GroupsAndHeadSizes) {
  struct Shape {
    int64_t num_heads, num_kv_heads, head_dim;
  };
  for (const Shape& s : {Shape{3, 3, 64}, Shape{9, 3, 64}, Shape{8, 1, 32}, Shape{14, 2, 64}, Shape{4, 1, 256},
                         Shape{2, 2, 80}, Shape{8, 1, 512}, Shape{2, 1, 16}}) {
    const auto result = RunAttention(context(), {.num_heads = s.num_heads,
                                                 .num_kv_heads = s.num_kv_heads,
                                                 .head_dim = s.head_dim,
                                                 .sequences = {{40, 2}, {3, 1}}});
    EXPECT_LE(NormalisedError(result.out, result.expected), kAttentionError)
        << s.num_heads << " heads over " << s.num_kv_heads << " of " << s.head_dim;
  }
}

TEST_F(VulkanAttentionTest, RaggedPrefillWithEmptySequences) {
  const auto result = RunAttention(
      context(), {.sequences = {{0, 37}, {5, 0}, {100, 1}, {30, 5}, {0, 1}, {64, 16}}, .extra_max_tokens = 10});
  EXPECT_LE(NormalisedError(result.out, result.expected), kAttentionError);
}

TEST_F(VulkanAttentionTest, WindowAndSoftcap) {
  for (const int64_t window : {1, 7, 16, 40, 1000}) {
    const auto result = RunAttention(
        context(),
        {.sequences = {{0, 20}, {90, 3}, {33, 18}}, .window = window, .softcap = window == 40 ? 2.0f : 0.0f});
    EXPECT_LE(NormalisedError(result.out, result.expected), kAttentionError) << window;
  }
}

// A row's bits do not depend on the rows beside it, on how its prompt was cut, or on the kernel's tile.
TEST_F(VulkanAttentionTest, ARowsBitsAreItsOwn) {
  for (const int64_t window : {0, 24}) {
    const AttentionCase whole{.sequences = {{0, 70}}, .window = window};
    const std::vector<float> all = RunAttention(context(), whole, {5}).out;
    const size_t cols = static_cast<size_t>(whole.num_heads * whole.head_dim);
    struct Cut {
      int64_t begin, rows;
    };
    for (const Cut& cut : {Cut{0, 33}, Cut{33, 37}, Cut{69, 1}, Cut{50, 3}}) {
      const auto part = RunAttention(
          context(), {.sequences = {{12, 9}, {cut.begin, cut.rows}, {40, 1}}, .window = window}, {1, 5, 2});
      const std::vector<float> rows(part.out.begin() + 9 * static_cast<int64_t>(cols),
                                    part.out.begin() + (9 + cut.rows) * static_cast<int64_t>(cols));
      const std::vector<float> same(all.begin() + cut.begin * static_cast<int64_t>(cols),
                                    all.begin() + (cut.begin + cut.rows) * static_cast<int64_t>(cols));
      EXPECT_EQ(rows, same) << "rows from " << cut.begin;
    }
    const auto alone = RunAttention(context(), {.sequences = {{69, 1}}, .window = window}, {5});
    EXPECT_TRUE(std::equal(alone.out.begin(), alone.out.end(), all.begin() + 69 * static_cast<int64_t>(cols)));
  }
}

}  // namespace
}  // namespace lem
