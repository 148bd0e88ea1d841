// Scalar quantisation, for synthetic models and tests: nearest rounding with one scale (and minimum) a block, no search
// for better scales. Pure functions; thread-safe. Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 give the bytes of GGUF's reference.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace lem {

// True for F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K.
bool CanQuantize(DType dtype);

// row[0..RowBytes(dtype, k)) = the k elements of `in`. Scales past the range of float16 become infinite.
// REQUIRES: CanQuantize(dtype); k a whole number of its blocks; finite elements.
void QuantizeRow(DType dtype, const float* in, std::byte* row, int64_t k);

}  // namespace lem
