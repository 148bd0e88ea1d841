// How the bytes of a weight are arranged. A weight has one layout; a plan picks kernels that read it.
#pragma once

#include <cstdint>

namespace lem {

enum class Layout : uint8_t {
  kGgufRows,  // rows of quantisation blocks one after the other, as GGUF files store them
  kLanes16,   // sixteen rows interleaved for the CPU's integer instructions (tensor/lanes.h)
};

}  // namespace lem
