// Downloads of models that clients have asked for, each on a thread of its own.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/store/model_store.h"

namespace lem {

// Thread-safe. The store must outlive it.
class PullJobs {
 public:
  // At once; the disk and the network are shared, and each holds a thread.
  static constexpr size_t kMaxJobs = 4;

  explicit PullJobs(ModelStore& store) : store_(store) {}
  // Breaks off what is under way and waits for it.
  ~PullJobs();
  PullJobs(const PullJobs&) = delete;
  PullJobs& operator=(const PullJobs&) = delete;

  struct Listener {
    std::function<void(const PullProgress&)> on_progress;
    std::function<void(const Result<PullResult>&)> on_end;
  };
  // Calls the listener on the job's thread. The token ends it early. Errors: ResourceExhausted (too many).
  Result<std::shared_ptr<CancelToken>> Start(std::string name, Listener listener);

 private:
  struct Job {
    std::shared_ptr<CancelToken> cancel = std::make_shared<CancelToken>();  // shared with whoever started it
    std::thread thread;
    bool ended = false;  // guarded by mutex_
  };

  ModelStore& store_;
  std::mutex mutex_;
  std::list<Job> jobs_;  // guarded by mutex_
};

}  // namespace lem
