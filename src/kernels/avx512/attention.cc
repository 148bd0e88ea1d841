// Attention and the KV store with AVX-512.
#include "kernels/avx512/simd.h"
#include "kernels/ops.h"

// After the vector type that it is written against.
#include "kernels/generic/attention_inl.h"
