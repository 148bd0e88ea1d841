// Figures of samples.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace lem {

// The middle value; of an even number, the upper of the two. REQUIRES: at least one value.
inline double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

// The value that three of four are not below. REQUIRES: at least one value.
inline double LowerQuartile(std::vector<double> values) {
  const auto quarter = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 4);
  std::ranges::nth_element(values, quarter);
  return *quarter;
}

}  // namespace lem
