// Times as plain numbers, for reports and predictions.
#pragma once

#include <chrono>

namespace lem {

inline double MillisecondsBetween(std::chrono::steady_clock::time_point begin,
                                  std::chrono::steady_clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}
inline double MillisecondsSince(std::chrono::steady_clock::time_point begin) {
  return MillisecondsBetween(begin, std::chrono::steady_clock::now());
}

}  // namespace lem
