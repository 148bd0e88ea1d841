// A segment of a graph as a sequence of Vulkan kernels: which activations share memory, where barriers are needed, and
// the dispatches themselves.
#pragma once

#include <span>
#include <vector>

#include "device/device.h"
#include "device/vulkan/vulkan_address_map.h"
#include "device/vulkan/vulkan_kernels.h"

namespace lem {

struct VulkanSegmentOptions {
  ShapeBucket bucket;
  bool fp16_products = false;  // tiled products round their factors to float16
};

// Immutable after Compile. The model must outlive it.
class VulkanSegment {
 public:
  // Errors: Unimplemented (an op, weight type or shape without a kernel, named), NotFound (a weight that is not mapped
  // to the device).
  static Result<VulkanSegment> Compile(const BoundGraph& model, const Segment& segment,
                                       const VulkanSegmentOptions& options, VulkanAddressMap& addresses);

  // Bytes of activations that live inside the segment.
  size_t scratch_bytes() const { return scratch_bytes_; }
  // Values that cross its boundary, inputs first.
  const std::vector<ValueId>& boundary() const { return boundary_; }
  // True if positions and KV blocks of the step's sequences are read.
  bool needs_sequences() const { return needs_sequences_; }
  // Of the step memory that its kernels read; KV blocks are the caller's to add.
  VulkanStepShape step_shape() const;

  // What the kernels are recorded with.
  struct Memory {
    std::span<const DeviceAddress> ropes;     // of each RopeSpec's table
    DeviceAddress scratch = 0;                // scratch_bytes()
    std::span<const DeviceAddress> boundary;  // of boundary()
  };
  void Record(VulkanRecorder& recorder, const Memory& memory) const;

 private:
  class Recording;

  VulkanSegment(const BoundGraph& model, const Segment& segment, const VulkanSegmentOptions& options)
      : model_(model), segment_(segment), options_(options) {}
  Status CheckOps();
  Status ResolveWeights(VulkanAddressMap& addresses);
  void FuseOps();
  void PlaceValues();

  const Op& op(int32_t idx) const { return model_.graph->ops[static_cast<size_t>(idx)]; }
  const Value& value(ValueId id) const { return model_.graph->values[static_cast<size_t>(id)]; }
  bool IsBoundary(ValueId id) const;
  size_t BytesOf(ValueId id) const;

  // What happens to an op beyond being recorded as it is.
  struct Fusion {
    bool skip = false;          // done by another op's kernel
    ValueId out = kNone;        // where the kernel writes instead
    ValueId residual = kNone;   // a linear adds this
    int32_t rope_of_k = kNone;  // an attention rotates its keys: the RopeSpec
    ValueId k = kNone;          // and reads them from here
  };

  BoundGraph model_;
  Segment segment_;
  VulkanSegmentOptions options_;
  bool needs_sequences_ = false;
  std::vector<ValueId> boundary_;
  std::vector<Fusion> fusions_;         // by op, from segment_.op_begin
  std::vector<DeviceAddress> weights_;  // [slots] 0 for those the segment does not use
  std::vector<size_t> scratch_offset_;  // [values] for those inside the segment
  size_t scratch_bytes_ = 0;
};

}  // namespace lem
