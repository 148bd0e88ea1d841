#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

namespace lem {
namespace {

TEST(ThreadPoolTest, RunsEveryTaskOnce) {
  for (const int num_threads : {1, 2, 4}) {
    ThreadPool pool(num_threads);
    for (int round = 0; round < 200; ++round) {
      const int num_tasks = round % 37;
      std::vector<int> counts(static_cast<size_t>(num_tasks), 0);
      std::atomic<int> bad_thread{0};
      pool.Run(num_tasks, [&](int64_t task, int thread) {
        ++counts[static_cast<size_t>(task)];
        if (thread < 0 || thread >= num_threads) ++bad_thread;
      });
      for (const int count : counts) EXPECT_EQ(count, 1);
      EXPECT_EQ(bad_thread, 0);
    }
  }
}

TEST(ThreadPoolTest, WakesSleepingWorkers) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // past the spin time
    std::atomic<int> sum{0};
    pool.Run(100, [&](int64_t task, int) { sum += static_cast<int>(task); });
    EXPECT_EQ(sum, 4950);
  }
}

TEST(ThreadPoolTest, DefaultsToTheProcessorsOfTheProcess) { EXPECT_GE(ThreadPool().num_threads(), 1); }

}  // namespace
}  // namespace lem
