// Integer products with AVX-VNNI.
#include "kernels/avx2/integer_lanes.h"

namespace lem {
namespace {

constexpr Isa kIsa = Isa::kAvxVnni;

// Ten sums have to be in flight: high and low bytes of up to six rows have one each.
constexpr bool OneChain(int /*lines*/, int /*tokens*/) { return false; }

LEM_INLINE I32 DotBytes(I32 sum, Codes codes, I32 bytes) { return _mm256_dpbusd_avx_epi32(sum, codes, bytes); }

}  // namespace
}  // namespace lem

// After the lanes that they are written against.
#include "kernels/generic/byte_dots_inl.h"
// After the products of a group.
#include "kernels/generic/integer_linear_inl.h"
