// Arithmetic on counts and sizes of this program's own. Numbers from outside go through checked_math.h.
#pragma once

#include <type_traits>

namespace lem {

// a / b, rounded up. REQUIRES: a >= 0, b > 0, a + b does not overflow.
template <typename Integer>
constexpr Integer DivideUp(Integer a, std::type_identity_t<Integer> b) {
  return (a + b - 1) / b;
}

// The least multiple of b that is >= a. REQUIRES: as DivideUp.
template <typename Integer>
constexpr Integer RoundUp(Integer a, std::type_identity_t<Integer> b) {
  return DivideUp(a, b) * b;
}

}  // namespace lem
