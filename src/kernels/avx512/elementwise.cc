// Norms, activations, rotary embedding and reductions over logits with AVX-512.
#include "kernels/avx512/simd.h"
#include "kernels/ops.h"

// After the vector type that it is written against.
#include "kernels/generic/elementwise_inl.h"
