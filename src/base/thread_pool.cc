#include "base/thread_pool.h"

#include <immintrin.h>

#include <algorithm>
#include <chrono>

#include "base/cpu_info.h"

namespace lem {
namespace {

// A decode step leaves gaps of some 0.1 ms (sampling, scheduling) between jobs: long enough to bridge them, short
// enough that an idle server costs nothing. A futex wake-up costs about 11 us, a spinning join 0.6 us.
constexpr auto kSpinTime = std::chrono::milliseconds(2);
// Pause instructions between looks at the clock.
constexpr int kPausesPerRound = 64;

// Spins until ready() or until `limit` has passed; true if ready.
template <typename Ready>
bool SpinUntil(Ready ready, std::chrono::nanoseconds limit) {
  if (ready()) return true;
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < kPausesPerRound; ++i) {
      if (ready()) return true;
      _mm_pause();
    }
  } while (std::chrono::steady_clock::now() - start < limit);
  return false;
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  if (num_threads <= 0) num_threads = GetCpuInfo().num_cpus;
  for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this, i] { WorkerLoop(i); });
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ClaimTasks(int thread_idx) {
  for (;;) {
    const int64_t task = next_task_.fetch_add(1, std::memory_order_relaxed);
    if (task >= num_tasks_) return;
    function_(context_, task, thread_idx);
  }
}

void ThreadPool::RunErased(int64_t num_tasks, Function function, void* context) {
  if (num_tasks <= 0) return;
  if (workers_.empty() || num_tasks == 1) {
    for (int64_t task = 0; task < num_tasks; ++task) function(context, task, 0);
    return;
  }
  // The gate is shut and nobody is inside: the fields are ours.
  function_ = function;
  context_ = context;
  num_tasks_ = num_tasks;
  next_task_.store(0, std::memory_order_relaxed);
  gate_.store(0, std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  if (num_sleeping_.load(std::memory_order_seq_cst) > 0) epoch_.notify_all();
  ClaimTasks(0);
  // All tasks are claimed. Workers inside may still be at theirs; later ones find the gate shut. A worker that lost its
  // core in the middle of a task is waited for with yields, so that it can get this one.
  gate_.fetch_or(kGateShut, std::memory_order_acq_rel);
  const auto all_left = [&] { return gate_.load(std::memory_order_acquire) == kGateShut; };
  while (!SpinUntil(all_left, std::chrono::microseconds(50))) std::this_thread::yield();
}

bool ThreadPool::EnterGate() {
  uint32_t gate = gate_.load(std::memory_order_relaxed);
  while ((gate & kGateShut) == 0) {
    if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) return true;
  }
  return false;
}

void ThreadPool::WorkerLoop(int thread_idx) {
  uint32_t seen = 0;
  for (;;) {
    const auto has_job = [&] { return epoch_.load(std::memory_order_acquire) != seen; };
    if (!SpinUntil(has_job, kSpinTime)) {
      num_sleeping_.fetch_add(1, std::memory_order_seq_cst);
      epoch_.wait(seen, std::memory_order_seq_cst);
      num_sleeping_.fetch_sub(1, std::memory_order_relaxed);
    }
    seen = epoch_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    if (!EnterGate()) continue;
    ClaimTasks(thread_idx);
    gate_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace lem
