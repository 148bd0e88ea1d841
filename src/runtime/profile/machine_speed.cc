#include "runtime/profile/machine_speed.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include "base/duration.h"

namespace lem {

double ReferenceMs(ThreadPool& pool) {
  constexpr int64_t kTasks = 64, kFloats = 16 << 10;
  using Clock = std::chrono::steady_clock;
  const std::vector<float> data(static_cast<size_t>(kFloats), 0.5f);
  std::vector<float> sums(static_cast<size_t>(kTasks));
  double best_ms = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 5; ++i) {
    const Clock::time_point begin = Clock::now();
    pool.Run(kTasks, [&](int64_t task, int) {
      float lanes[16] = {};
      for (int64_t pass = 0; pass < 8; ++pass) {
        for (int64_t k = 0; k < kFloats; ++k)
          lanes[k % 16] += data[static_cast<size_t>(k)] * data[static_cast<size_t>(k)];
      }
      float sum = 0;
      for (const float lane : lanes) sum += lane;
      sums[static_cast<size_t>(task)] = sum;
    });
    best_ms = std::min(best_ms, MillisecondsSince(begin));
  }
  return best_ms;
}

double SpeedMeter::Read() {
  const double now_ms = ReferenceMs(pool_);
  const double speed = 2 * reference_ms_ / (last_ms_ + now_ms);
  last_ms_ = now_ms;
  return speed;
}

}  // namespace lem
