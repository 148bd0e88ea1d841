// Integer products with AVX-512 VNNI.
#include "kernels/avx512/integer_lanes.h"

namespace lem {
namespace {

constexpr Isa kIsa = Isa::kAvx512Vnni;

// Ten sums have to be in flight. Few rows get them with one sum for the high and one for the low bytes; many rows have
// one register each, and one addition less. With half a group there are registers for the latter earlier.
constexpr bool OneChain(int lines, int tokens) { return tokens > (lines == 8 ? 8 : 4); }

LEM_INLINE I32 DotBytes(I32 sum, Codes codes, I32 bytes) { return _mm512_dpbusd_epi32(sum, codes, bytes); }

}  // namespace
}  // namespace lem

// After the lanes that they are written against.
#include "kernels/generic/byte_dots_inl.h"
// After the products of a group.
#include "kernels/generic/integer_linear_inl.h"
