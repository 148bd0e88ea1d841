// Attention and the KV store.
#include "kernels/ops.h"
#include "kernels/portable/simd.h"

// After the vector type that it is written against.
#include "kernels/generic/attention_inl.h"
