#include "server/answer_loop.h"

#include <utility>

namespace lem {

AnswerLoop::AnswerLoop() : thread_([this] { Loop(); }) {}

AnswerLoop::~AnswerLoop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
  for (const auto& [key, task] : std::exchange(adopted_, {})) task->Abandon();
}

void AnswerLoop::Adopt(const std::shared_ptr<Task>& task) {
  {
    const std::lock_guard lock(mutex_);
    adopted_.emplace(task.get(), task);
  }
  Wake(task);
}

void AnswerLoop::Release(Task& task) {
  std::shared_ptr<Task> last;  // declared first: destroyed after the mutex is unlocked
  const std::lock_guard lock(mutex_);
  const auto found = adopted_.find(&task);
  if (found == adopted_.end()) return;
  last = std::move(found->second);
  adopted_.erase(found);
}

void AnswerLoop::Wake(std::shared_ptr<Task> task) {
  if (task->woken_.exchange(true)) return;
  {
    const std::lock_guard lock(mutex_);
    woken_.push_back(std::move(task));
  }
  changed_.notify_one();
}

void AnswerLoop::WakeAt(Clock::time_point when, std::weak_ptr<Task> task) {
  {
    const std::lock_guard lock(mutex_);
    timers_.push({when, std::move(task)});
  }
  changed_.notify_one();
}

size_t AnswerLoop::num_tasks() const {
  const std::lock_guard lock(mutex_);
  return adopted_.size();
}

void AnswerLoop::Loop() {
  std::vector<std::shared_ptr<Task>> tasks;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const Clock::time_point now = Clock::now();
    while (!timers_.empty() && timers_.top().when <= now) {
      std::shared_ptr<Task> task = timers_.top().task.lock();
      timers_.pop();
      if (task && !task->woken_.exchange(true)) woken_.push_back(std::move(task));
    }
    if (woken_.empty()) {
      if (timers_.empty()) {
        changed_.wait(lock);
      } else {
        changed_.wait_until(lock, timers_.top().when);
      }
      continue;
    }
    std::swap(tasks, woken_);
    lock.unlock();
    for (const std::shared_ptr<Task>& task : tasks) {
      task->woken_.store(false);
      task->Run();
    }
    tasks.clear();
    lock.lock();
  }
}

}  // namespace lem
