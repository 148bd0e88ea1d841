// Norms, activations, rotary embedding and reductions over logits.
#include "kernels/ops.h"
#include "kernels/portable/simd.h"

// After the vector type that it is written against.
#include "kernels/generic/elementwise_inl.h"
