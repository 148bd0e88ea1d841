// Linear layers with AVX-512.
#include "kernels/avx512/decode.h"
#include "kernels/avx512/simd.h"
#include "kernels/ops.h"

// After the vector type that it is written against.
#include "kernels/generic/linear_inl.h"
