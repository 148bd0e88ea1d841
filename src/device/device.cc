#include "device/device.h"

#include "kernels/kernels.h"

namespace lem {

DeviceEvent DeviceEvent::Finished(Status status) { return DeviceEvent(std::move(status)); }

std::string_view DeviceKindName(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::kCpu:
      return "cpu";
    case DeviceKind::kGpu:
      return "gpu";
    case DeviceKind::kNpu:
      return "npu";
  }
  return "unknown";
}

KvBlockLayout MakeKvBlockLayout(const KvSpec& spec) {
  KvBlockLayout layout;
  layout.v_offset = static_cast<size_t>(spec.num_kv_heads * spec.head_dim * kKvBlockTokens) * sizeof(uint16_t);
  layout.layer_bytes = 2 * layout.v_offset;
  layout.block_bytes = layout.layer_bytes * static_cast<size_t>(spec.num_layers);
  return layout;
}

}  // namespace lem
