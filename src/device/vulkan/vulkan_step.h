// What changes from step to step, as the kernels read it: one StepHeader and the tables it points to, in memory that
// the host writes and the device reads. Command buffers are recorded once for a bucket's largest step; the header says
// how many rows a step really has. The structs are mirrored in shaders/step.glsl.
//
// Pure functions and plain data; thread-safe. The memory belongs to the caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "device/device.h"

namespace lem {

// An address on the device (VK buffer device address); 0 = none.
using DeviceAddress = uint64_t;

struct VulkanStepHeader {
  uint32_t num_tokens = 0;           // T
  uint32_t num_outputs = 0;          // O
  uint32_t num_attention_tiles = 0;  // of `attention_tiles`, at most T
  uint32_t reserved = 0;
  DeviceAddress token_ids = 0;        // uint32 [T]
  DeviceAddress output_rows = 0;      // uint32 [O], rising row indices
  DeviceAddress rows = 0;             // VulkanStepRow [T]
  DeviceAddress attention_tiles = 0;  // VulkanAttentionTile [num_attention_tiles]
  DeviceAddress kv_blocks = 0;        // DeviceAddress [...]: the blocks of sequence after sequence, by position / 16
};
static_assert(sizeof(VulkanStepHeader) == 56 && offsetof(VulkanStepHeader, token_ids) == 16 &&
              offsetof(VulkanStepHeader, kv_blocks) == 48);

struct VulkanStepRow {
  uint32_t position = 0;        // of the token in its sequence
  uint32_t kv_block_begin = 0;  // index into kv_blocks of the sequence's first block
};
static_assert(sizeof(VulkanStepRow) == 8);

// Consecutive rows of one sequence that one workgroup attends for.
struct VulkanAttentionTile {
  uint32_t row_begin = 0;
  uint32_t num_rows = 0;  // 1 to VulkanStepShape::attention_tile_rows
};
static_assert(sizeof(VulkanAttentionTile) == 8);

// The largest step that a piece of step memory is made for.
struct VulkanStepShape {
  int64_t max_tokens = 0;
  int64_t max_outputs = 0;
  int64_t max_kv_blocks = 0;        // summed over the sequences of a step
  int64_t attention_tile_rows = 1;  // AttentionTileRows() of the attention kernels that are recorded
  std::vector<int64_t> rope_pairs;  // rotary_dim / 2 of each RopeSpec
};

// Byte offsets of the tables in step memory; the header is at 0. All are 256-byte aligned.
struct VulkanStepLayout {
  size_t token_ids = 0, output_rows = 0, rows = 0, attention_tiles = 0, kv_blocks = 0;
  std::vector<size_t> ropes;  // per RopeSpec: float [max_tokens, pairs, 2] of (cos, sin)
  size_t bytes = 0;
};
VulkanStepLayout MakeVulkanStepLayout(const VulkanStepShape& shape);

// One step as the host knows it.
struct VulkanStepInput {
  std::span<const int32_t> tokens;           // [T]
  std::span<const SequenceRows> sequences;   // [S], covering rows 0..T in order
  std::span<const int32_t> output_rows;      // [O]
  std::span<const DeviceAddress> kv_blocks;  // [blocks of the pool]: where each block lies on the device
  // Angle of one position for each pair: frequencies[r][i] times the position; rope r has shape.rope_pairs[r] pairs.
  std::span<const std::vector<double>> rope_frequencies;
};

// Fills `memory` (layout.bytes long, at `address` on the device) for one step; allocates nothing. Errors:
// InvalidArgument when the step is larger than the shape.
Status WriteVulkanStep(const VulkanStepShape& shape, const VulkanStepLayout& layout, const VulkanStepInput& input,
                       std::span<std::byte> memory, DeviceAddress address);

}  // namespace lem
