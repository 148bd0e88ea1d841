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
};

// The weights of one model. Filled once at load, constant afterwards and then thread-safe.
class WeightTable {
 public:
  // `owner` keeps `bytes` valid. REQUIRES: bytes.size() == desc.rows * desc.row_bytes.
  WeightHandle Add(WeightDesc desc, std::span<const std::byte> bytes, std::shared_ptr<const void> owner);

  const WeightDesc& desc(WeightHandle handle) const { return entries_[static_cast<size_t>(handle.index)].desc; }
  // Where the host can read the weight. A device asks once, when it compiles.
  std::span<const std::byte> host_bytes(WeightHandle handle) const {
    return entries_[static_cast<size_t>(handle.index)].bytes;
  }
  uint64_t total_bytes() const;

 private:
  struct Entry {
    WeightDesc desc;
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner;
  };
  std::vector<Entry> entries_;
};

}  // namespace lem
