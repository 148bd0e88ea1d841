// Attention and the KV store with AVX2.
#include "kernels/avx2/simd.h"
#include "kernels/ops.h"

// After the vector type that it is written against.
#include "kernels/generic/attention_inl.h"
