// Norms, activations, rotary embedding and reductions over logits with AVX2.
#include "kernels/avx2/simd.h"
#include "kernels/ops.h"

// After the vector type that it is written against.
#include "kernels/generic/elementwise_inl.h"
