// Shares memory between values that do not live at the same time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/integer_math.h"

namespace lem {

// Values are placed in the order in which they are written. A value never shares memory with one that is read when it
// is written.
class FirstFit {
 public:
  explicit FirstFit(size_t alignment) : alignment_(alignment) {}

  // Offset of a value that is written by op `born` and read last by op `dies`: the lowest gap that is free.
  // REQUIRES: `born` does not fall from call to call.
  size_t Place(size_t bytes, int32_t born, int32_t dies) {
    std::erase_if(live_, [born](const Live& live) { return live.dies < born; });
    std::ranges::sort(live_, {}, &Live::begin);
    bytes = RoundUp(bytes, alignment_);
    size_t offset = 0;
    for (const Live& live : live_) {
      if (offset + bytes <= live.begin) break;
      offset = std::max(offset, live.end);
    }
    live_.push_back({offset, offset + bytes, dies});
    total_bytes_ = std::max(total_bytes_, offset + bytes);
    return offset;
  }
  // That all values so far need together.
  size_t total_bytes() const { return total_bytes_; }

 private:
  struct Live {
    size_t begin, end;
    int32_t dies;
  };
  const size_t alignment_;
  std::vector<Live> live_;
  size_t total_bytes_ = 0;
};

}  // namespace lem
