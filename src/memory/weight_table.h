// Weights as handles: what a weight is and where its bytes are, so that no other module holds pointers into model
// files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/layout.h"

namespace lem {

struct WeightHandle {
  int32_t index = -1;
  bool valid() const { return index >= 0; }
};

struct WeightDesc {
  std::string name;
  DType dtype = DType::kF32;
  Layout layout = Layout::kGgufRows;
  int64_t rows = 0;
  int64_t cols = 0;
  size_t row_bytes = 0;
  bool in_mapped_file = false;  // the bytes are a part of a file that is mapped (DropMappedPages)
  std::string source;           // identifies the content of that file; empty = unknown
};

// The weights of one model. Filled once at load, constant afterwards and then thread-safe.
class WeightTable {
 public:
  // `owner` keeps `bytes` valid. `device_data`: see below. REQUIRES: bytes.size() == desc.rows * desc.row_bytes.
  WeightHandle Add(WeightDesc desc, std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                   const std::byte* device_data = nullptr);

  const WeightDesc& desc(WeightHandle handle) const { return entries_[static_cast<size_t>(handle.index)].desc; }
  // Where the host can read the weight. A device asks once, when it compiles.
  std::span<const std::byte> host_bytes(WeightHandle handle) const {
    return entries_[static_cast<size_t>(handle.index)].bytes;
  }
  // Its address in the address space, for devices that it is mapped to; null if it is mapped to none. The host reads it
  // only at host_bytes: a device with a memory of its own has the only copy that belongs to this address.
  const std::byte* device_data(WeightHandle handle) const {
    return entries_[static_cast<size_t>(handle.index)].device_data;
  }
  const std::shared_ptr<const void>& owner(WeightHandle handle) const {
    return entries_[static_cast<size_t>(handle.index)].owner;
  }
  uint64_t total_bytes() const;

 private:
  struct Entry {
    WeightDesc desc;
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner;
    const std::byte* device_data = nullptr;
  };
  std::vector<Entry> entries_;
};

}  // namespace lem
