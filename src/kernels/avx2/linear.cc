// Linear layers with AVX2.
#include "kernels/avx2/decode.h"
#include "kernels/avx2/simd.h"
#include "kernels/ops.h"

// After the vector type that it is written against.
#include "kernels/generic/linear_inl.h"
