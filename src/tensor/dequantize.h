// Scalar reference of dequantisation: what every kernel must reproduce bit for bit. Pure functions; thread-safe.
//
// The arithmetic, in float32: a sub-block's scale and minimum are products rounded once (they are exact); an element is
// fma(scale, q, -minimum), or scale * q where the type has no minimum. See quant_blocks.h for why fusing changes
// nothing. A non-finite scale gives non-finite elements.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace lem {

// out[0..k) = the k elements of a row. `row` may have any alignment and is RowBytes(dtype, k) long.
// REQUIRES: a dtype with is_weight; k a whole number of its blocks.
void DequantizeRow(DType dtype, const std::byte* row, float* out, int64_t k);

}  // namespace lem
