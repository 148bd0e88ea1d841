// The events of one generation on their way from the engine's thread to the thread that answers the client.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>

#include "engine/engine.h"
#include "request/request.h"

namespace lem {

// Thread-safe. Events keep their order. Holds at most what one answer can have, so it needs no other bound.
class EventQueue : public EventSink {
 public:
  void Emit(Event event) override;

  std::optional<Event> Poll();
  Event Wait();
  // See Generation::SetNotify. An empty function removes it; none is running or will run after that returns.
  void SetNotify(std::function<void()> notify);

 private:
  std::mutex mutex_;
  std::condition_variable not_empty_;
  std::deque<Event> events_;
  std::function<void()> notify_;
  bool notified_ = false;  // since the queue was last found empty
};

}  // namespace lem
