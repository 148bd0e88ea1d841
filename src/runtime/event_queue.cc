#include "runtime/event_queue.h"

#include <utility>

namespace lem {

void EventQueue::Emit(Event event) {
  const std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
  not_empty_.notify_one();
  // Called under the lock, so that SetNotify can promise that an old function no longer runs; it only posts.
  if (notify_ && !std::exchange(notified_, true)) notify_();
}

std::optional<Event> EventQueue::Poll() {
  const std::lock_guard lock(mutex_);
  if (events_.empty()) {
    notified_ = false;
    return std::nullopt;
  }
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

Event EventQueue::Wait() {
  std::unique_lock lock(mutex_);
  not_empty_.wait(lock, [this] { return !events_.empty(); });
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

void EventQueue::SetNotify(std::function<void()> notify) {
  const std::lock_guard lock(mutex_);
  notify_ = std::move(notify);
  notified_ = false;
  if (notify_ && !events_.empty()) {
    notified_ = true;
    notify_();
  }
}

}  // namespace lem
