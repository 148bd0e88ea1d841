// Linear layers.
#include "kernels/ops.h"
#include "kernels/portable/decode.h"
#include "kernels/portable/simd.h"

// After the vector type that it is written against.
#include "kernels/generic/linear_inl.h"
