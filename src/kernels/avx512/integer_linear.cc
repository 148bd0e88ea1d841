// Integer products with AVX-512 and no VNNI.
#include "kernels/avx512/integer_lanes.h"

namespace lem {
namespace {

constexpr Isa kIsa = Isa::kAvx512;

}  // namespace
}  // namespace lem

// After the lanes that they are written against.
#include "kernels/generic/pair_dots_inl.h"
// After the products of a group.
#include "kernels/generic/integer_linear_inl.h"
