// The one thread on which all answers run: it takes their events from the engine and writes them for the clients.
//
// An answer is a task that is woken when there is something to do and never blocks. Waking is cheap enough for the
// engine's thread: no allocation once the queue has grown, no wait.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <queue>
#include <thread>
#include <unordered_map>
#include <vector>

namespace lem {

// Thread-safe.
class AnswerLoop {
 public:
  using Clock = std::chrono::steady_clock;

  class Task {
   public:
    virtual ~Task() = default;
    // On the loop's thread, once for all wakes since the last run.
    virtual void Run() = 0;
    // The loop ends and the task has not been released: lets go of everything. On the thread that ends the loop.
    virtual void Abandon() = 0;

   private:
    friend class AnswerLoop;
    std::atomic<bool> woken_{false};
  };

  AnswerLoop();
  // Abandons the tasks that are left.
  ~AnswerLoop();
  AnswerLoop(const AnswerLoop&) = delete;
  AnswerLoop& operator=(const AnswerLoop&) = delete;

  // Keeps the task alive until Release and wakes it.
  void Adopt(const std::shared_ptr<Task>& task);
  void Release(Task& task);

  void Wake(std::shared_ptr<Task> task);
  void WakeAt(Clock::time_point when, std::weak_ptr<Task> task);

  size_t num_tasks() const;

 private:
  struct Timer {
    Clock::time_point when;
    std::weak_ptr<Task> task;
    bool operator>(const Timer& other) const { return when > other.when; }
  };

  void Loop();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Task>> woken_;  // shared: a task may be released while it waits here
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
  std::unordered_map<Task*, std::shared_ptr<Task>> adopted_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace lem
