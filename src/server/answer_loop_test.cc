#include "server/answer_loop.h"

#include <gtest/gtest.h>

#include <future>

namespace lem {
namespace {

using std::chrono::milliseconds;

class CountingTask : public AnswerLoop::Task {
 public:
  void Run() override {
    ++num_runs;
    if (on_run) on_run();
  }
  void Abandon() override { abandoned = true; }

  std::function<void()> on_run;
  std::atomic<int> num_runs{0};
  std::atomic<bool> abandoned{false};
};

void WaitFor(const std::function<bool()>& condition) {
  const auto give_up = AnswerLoop::Clock::now() + std::chrono::seconds(20);
  while (!condition() && AnswerLoop::Clock::now() < give_up) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_TRUE(condition());
}

TEST(AnswerLoopTest, RunsAnAdoptedTaskAndKeepsIt) {
  AnswerLoop loop;
  auto task = std::make_shared<CountingTask>();
  const std::weak_ptr<CountingTask> weak = task;
  loop.Adopt(task);
  WaitFor([&] { return task->num_runs == 1; });
  CountingTask* raw = task.get();
  task.reset();
  EXPECT_FALSE(weak.expired());
  loop.Release(*raw);
  WaitFor([&] { return weak.expired(); });
}

TEST(AnswerLoopTest, ManyWakesDuringARunAreOneMoreRun) {
  AnswerLoop loop;
  std::promise<void> go;
  auto task = std::make_shared<CountingTask>();
  task->on_run = [&, first = true]() mutable {
    if (std::exchange(first, false)) go.get_future().wait();
  };
  loop.Wake(task);
  WaitFor([&] { return task->num_runs == 1; });
  for (int i = 0; i < 1000; ++i) loop.Wake(task);
  go.set_value();
  WaitFor([&] { return task->num_runs == 2; });
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(task->num_runs, 2);
}

TEST(AnswerLoopTest, WakesAtATime) {
  AnswerLoop loop;
  auto task = std::make_shared<CountingTask>();
  const auto begin = AnswerLoop::Clock::now();
  std::atomic<bool> early = false;
  task->on_run = [&] { early = AnswerLoop::Clock::now() < begin + milliseconds(30); };
  loop.WakeAt(begin + milliseconds(30), task);
  loop.WakeAt(begin + std::chrono::hours(1), task);
  WaitFor([&] { return task->num_runs == 1; });
  EXPECT_FALSE(early);
  // A task that has gone meanwhile is no matter.
  loop.WakeAt(begin, std::make_shared<CountingTask>());
}

TEST(AnswerLoopTest, AbandonsWhatIsLeft) {
  auto task = std::make_shared<CountingTask>();
  {
    AnswerLoop loop;
    loop.Adopt(task);
  }
  EXPECT_TRUE(task->abandoned);
  EXPECT_EQ(task.use_count(), 1);
}

}  // namespace
}  // namespace lem
