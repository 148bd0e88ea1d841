// The compute pool: fork/join over a few pinned-count threads, one join per fused op. The calling thread works too.
//
// Tasks are claimed dynamically (one atomic counter), because cores are unequal and may be stolen; which thread runs a
// task never changes its result. A worker that is late (asleep, or its core is taken) is not waited for: the others do
// its share and close the job. Workers spin between jobs while work keeps coming and sleep after kSpinTime without any,
// so nothing spins while nothing runs. Run() may be called by one thread at a time.
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
  static constexpr uint32_t kGateShut = uint32_t{1} << 31;

  using Function = void (*)(void* context, int64_t task_idx, int thread_idx);

  void RunErased(int64_t num_tasks, Function function, void* context);
  void WorkerLoop(int thread_idx);
  void ClaimTasks(int thread_idx);
  bool EnterGate();

  // The job: written by the caller while the gate is shut and nobody is inside; read by workers inside.
  Function function_ = nullptr;
  void* context_ = nullptr;
  int64_t num_tasks_ = 0;

  alignas(64) std::atomic<int64_t> next_task_{0};
  // kGateShut, or the number of workers inside the current job; while shut, workers still inside are counted too.
  alignas(64) std::atomic<uint32_t> gate_{kGateShut};
  alignas(64) std::atomic<uint32_t> epoch_{0};  // raised once a job, after the gate has opened
  alignas(64) std::atomic<int> num_sleeping_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace lem
