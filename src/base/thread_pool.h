// The compute pool: fork/join over a few pinned-count threads, one join per fused op. The calling thread works too.
//
// Tasks are claimed dynamically (one atomic counter), because cores are unequal and may be stolen; which thread runs a
// task never changes its result. Workers spin between jobs while work keeps coming and sleep after kSpinTime without
// any, so nothing spins while nothing runs. Run() may be called by one thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace lem {

class ThreadPool {
 public:
  // num_threads counts the caller; at least 1. 0 = one a processor that this process may run on.
  explicit ThreadPool(int num_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(task_idx, thread_idx) once for each task_idx in [0, num_tasks), thread_idx in [0, num_threads()), and
  // returns when all are done. body must not throw and must not call Run.
  template <typename Body>
  void Run(int64_t num_tasks, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    RunErased(
        num_tasks, [](void* context, int64_t task, int thread) { (*static_cast<Plain*>(context))(task, thread); },
        const_cast<std::remove_const_t<Plain>*>(&body));
  }

 private:
  using Function = void (*)(void* context, int64_t task_idx, int thread_idx);

  void RunErased(int64_t num_tasks, Function function, void* context);
  void WorkerLoop(int thread_idx);
  void ClaimTasks(int thread_idx);

  // The job: written by the caller before epoch_ is raised, read by workers after.
  Function function_ = nullptr;
  void* context_ = nullptr;
  int64_t num_tasks_ = 0;

  alignas(64) std::atomic<int64_t> next_task_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};         // raised once a job
  alignas(64) std::atomic<uint32_t> num_finished_{0};  // workers done with the current job
  alignas(64) std::atomic<int> num_sleeping_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace lem
