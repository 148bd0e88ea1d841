#include "device/vulkan/vulkan_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/kernels.h"

namespace lem {
namespace {

constexpr size_t kTableAlignment = 256;

// Writes tables of plain values into step memory.
template <typename T>
T* TableAt(std::span<std::byte> memory, size_t offset) {
  return reinterpret_cast<T*>(memory.data() + offset);
}

}  // namespace

VulkanStepLayout MakeVulkanStepLayout(const VulkanStepShape& shape) {
  VulkanStepLayout layout;
  size_t end = sizeof(VulkanStepHeader);
  const auto place = [&end](int64_t count, size_t element_bytes) {
    const size_t offset = (end + kTableAlignment - 1) / kTableAlignment * kTableAlignment;
    end = offset + static_cast<size_t>(count) * element_bytes;
    return offset;
  };
  layout.token_ids = place(shape.max_tokens, sizeof(uint32_t));
  layout.output_rows = place(shape.max_outputs, sizeof(uint32_t));
  layout.rows = place(shape.max_tokens, sizeof(VulkanStepRow));
  layout.attention_tiles = place(shape.max_tokens, sizeof(VulkanAttentionTile));
  layout.kv_blocks = place(shape.max_kv_blocks, sizeof(DeviceAddress));
  for (const int64_t pairs : shape.rope_pairs) {
    layout.ropes.push_back(place(shape.max_tokens * pairs * 2, sizeof(float)));
  }
  layout.bytes = end;
  return layout;
}

Status WriteVulkanStep(const VulkanStepShape& shape, const VulkanStepLayout& layout, const VulkanStepInput& input,
                       std::span<std::byte> memory, DeviceAddress address) {
  const auto num_tokens = static_cast<int64_t>(input.tokens.size());
  const auto num_outputs = static_cast<int64_t>(input.output_rows.size());
  if (num_tokens > shape.max_tokens || num_outputs > shape.max_outputs) {
    return InvalidArgument("a step of {} tokens and {} outputs; this executable takes {} and {}", num_tokens,
                           num_outputs, shape.max_tokens, shape.max_outputs);
  }
  std::copy(input.tokens.begin(), input.tokens.end(), TableAt<int32_t>(memory, layout.token_ids));
  std::copy(input.output_rows.begin(), input.output_rows.end(), TableAt<int32_t>(memory, layout.output_rows));

  auto* rows = TableAt<VulkanStepRow>(memory, layout.rows);
  auto* tiles = TableAt<VulkanAttentionTile>(memory, layout.attention_tiles);
  auto* blocks = TableAt<DeviceAddress>(memory, layout.kv_blocks);
  uint32_t num_tiles = 0;
  int64_t num_blocks = 0;
  for (const SequenceRows& sequence : input.sequences) {
    const int64_t context = sequence.first_position + sequence.num_rows;
    const int64_t needed = sequence.num_rows == 0 ? 0 : (context + kKvBlockTokens - 1) / kKvBlockTokens;
    if (num_blocks + needed > shape.max_kv_blocks) {
      return InvalidArgument("a step over more than {} KV blocks; that is what this executable takes",
                             shape.max_kv_blocks);
    }
    for (int64_t i = 0; i < sequence.num_rows; ++i) {
      rows[sequence.row_begin + i] = {static_cast<uint32_t>(sequence.first_position + i),
                                      static_cast<uint32_t>(num_blocks)};
    }
    for (int64_t i = 0; i < sequence.num_rows; i += shape.attention_tile_rows) {
      tiles[num_tiles++] = {static_cast<uint32_t>(sequence.row_begin + i),
                            static_cast<uint32_t>(std::min(shape.attention_tile_rows, sequence.num_rows - i))};
    }
    for (int64_t i = 0; i < needed; ++i) {
      const auto block = static_cast<size_t>(sequence.block_table[static_cast<size_t>(i)]);
      blocks[num_blocks++] = input.kv_blocks[block];
    }
    for (size_t r = 0; r < shape.rope_pairs.size(); ++r) {
      const std::vector<double>& frequencies = input.rope_frequencies[r];
      float* out = TableAt<float>(memory, layout.ropes[r]) + sequence.row_begin * shape.rope_pairs[r] * 2;
      for (int64_t i = 0; i < sequence.num_rows; ++i) {
        const auto position = static_cast<double>(sequence.first_position + i);
        for (const double frequency : frequencies) {
          *out++ = static_cast<float>(std::cos(position * frequency));
          *out++ = static_cast<float>(std::sin(position * frequency));
        }
      }
    }
  }
  const VulkanStepHeader header{.num_tokens = static_cast<uint32_t>(num_tokens),
                                .num_outputs = static_cast<uint32_t>(num_outputs),
                                .num_attention_tiles = num_tiles,
                                .token_ids = address + layout.token_ids,
                                .output_rows = address + layout.output_rows,
                                .rows = address + layout.rows,
                                .attention_tiles = address + layout.attention_tiles,
                                .kv_blocks = address + layout.kv_blocks};
  std::memcpy(memory.data(), &header, sizeof(header));
  return OkStatus();
}

}  // namespace lem
