// How fast the machine is at the moment. Shared machines drift by tens of percent within minutes: measured times are
// divided by what a fixed piece of arithmetic took just before and after them.
#pragma once

#include "base/thread_pool.h"

namespace lem {

// Milliseconds of the fixed piece of arithmetic on every thread: the best of five, since another program that has a
// core for a moment is not the machine's speed.
double ReferenceMs(ThreadPool& pool);

// Not thread-safe. The pool must outlive it.
class SpeedMeter {
 public:
  // Speeds are relative to the machine that needs `reference_ms`.
  SpeedMeter(ThreadPool& pool, double reference_ms)
      : pool_(pool), reference_ms_(reference_ms), last_ms_(ReferenceMs(pool)) {}

  // Of the time since the call before, or since it was made. Times multiplied by it are those of the reference machine.
  double Read();

 private:
  ThreadPool& pool_;
  const double reference_ms_;
  double last_ms_;
};

}  // namespace lem
