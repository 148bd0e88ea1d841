// What the tests of the Vulkan kernels share: one device with validation on, guarded matrices on it, random weights and
// steps over a scattered KV cache. Not thread-safe.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "device/vulkan/vulkan_context.h"
#include "device/vulkan/vulkan_kernels.h"
#include "device/vulkan/vulkan_step.h"
#include "tensor/dtype.h"

namespace lem {

// Options of the tests' instance and contexts: validation, and the first usable device.
VulkanInstanceOptions TestInstanceOptions();
// The instance that all tests of a process share, or null with the reason in `reason`.
std::shared_ptr<VulkanInstance> TestInstance(std::string& reason);
// A new context on the first usable device, or null with the reason in `reason`.
std::unique_ptr<VulkanContext> MakeTestContext(const VulkanContextOptions& options, std::string& reason);

// Skips where there is no device; fails when the validation layer has said anything during the test.
class VulkanTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  // Shared by all tests of the process, so that a pipeline is compiled once.
  VulkanContext& context() { return *context_; }

  int64_t messages_before_ = 0;
  bool expect_messages_ = false;  // a test that provokes the layer
  VulkanContext* context_ = nullptr;
};

// A float matrix [rows, cols] on the device, rows `stride` floats apart; every float that belongs to no row, before,
// between and after the rows, is a guard.
class DeviceMatrix {
 public:
  // Filled with `values` [rows, cols]; without values every element is a guard too.
  DeviceMatrix(VulkanContext& context, int64_t rows, int64_t cols, std::span<const float> values = {},
               int64_t stride = 0);
  DeviceAddress address() const;
  uint32_t stride() const { return static_cast<uint32_t>(stride_); }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  // [num_rows, cols] of what is there now. Fails the test if a guard, or a row from num_rows on, was written.
  std::vector<float> Read(int64_t num_rows);

 private:
  VulkanContext& context_;
  const int64_t rows_, cols_, stride_;
  VulkanBuffer buffer_;
  std::vector<float> before_;
};

// Any bytes on the device; the buffer is padded with other bytes on both sides.
VulkanBuffer UploadBytes(VulkanContext& context, std::span<const std::byte> bytes);

// Blocks of random bits with scales of a usual size: [rows, k] of `dtype`.
struct RandomWeights {
  RandomWeights(DType dtype, int64_t rows, int64_t k, uint32_t seed);
  std::vector<float> Row(int64_t row) const;  // dequantised
  DType dtype;
  int64_t rows, k;
  size_t row_bytes;
  std::vector<std::byte> bytes;
};
// All types that kernels take.
std::vector<DType> AllWeightTypes();

std::vector<float> RandomFloats(int64_t count, uint32_t seed, float scale = 1.0f);

// sum (a - b)^2 / sum b^2
double NormalisedError(std::span<const float> found, std::span<const double> expected);

// A step over sequences that stand at some contexts, with its KV blocks scattered over the device.
class TestStep {
 public:
  struct Sequence {
    int64_t first_position = 0;
    int64_t num_rows = 1;
  };
  // block_bytes 0: a step without a cache.
  TestStep(VulkanContext& context, std::vector<Sequence> sequences, std::vector<int32_t> tokens,
           std::vector<int32_t> output_rows, size_t block_bytes = 0, int64_t attention_tile_rows = 1,
           std::vector<std::vector<double>> rope_frequencies = {}, int64_t spare_rows = 3);

  int64_t num_tokens() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t max_tokens() const { return shape_.max_tokens; }
  int64_t max_outputs() const { return shape_.max_outputs; }
  DeviceAddress header() const { return memory_.address(); }
  DeviceAddress rope(size_t index) const { return memory_.address() + layout_.ropes[index]; }
  const std::vector<Sequence>& sequences() const { return sequences_; }
  // Bytes of the block that holds a position of a sequence.
  std::vector<std::byte> ReadBlock(size_t sequence, int64_t position);
  void WriteBlock(size_t sequence, int64_t position, std::span<const std::byte> bytes);
  size_t num_blocks() const { return kv_blocks_.size(); }

  // Runs what `record` records, with this step set and a barrier for the host.
  void Run(const std::function<void(VulkanRecorder&)>& record);

 private:
  size_t BlockOffset(size_t sequence, int64_t position) const;

  VulkanContext& context_;
  std::vector<Sequence> sequences_;
  std::vector<int32_t> tokens_;
  size_t block_bytes_;
  VulkanStepShape shape_;
  VulkanStepLayout layout_;
  std::vector<std::vector<int32_t>> block_tables_;
  std::vector<DeviceAddress> kv_blocks_;
  VulkanBuffer memory_, cache_;
};

}  // namespace lem
