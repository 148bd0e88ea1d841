#include "server/pull_jobs.h"

#include <algorithm>
#include <utility>

namespace lem {

PullJobs::~PullJobs() {
  {
    const std::lock_guard lock(mutex_);
    for (Job& job : jobs_) job.cancel->Cancel();
  }
  // No job is started any more, so the list stays as it is.
  for (Job& job : jobs_) job.thread.join();
}

Result<std::shared_ptr<CancelToken>> PullJobs::Start(std::string name, Listener listener) {
  const std::lock_guard lock(mutex_);
  for (auto job = jobs_.begin(); job != jobs_.end();) {
    if (!job->ended) {
      ++job;
      continue;
    }
    job->thread.join();
    job = jobs_.erase(job);
  }
  if (jobs_.size() >= kMaxJobs) {
    return ResourceExhausted("{} models are being pulled; try again when one of them is done", jobs_.size());
  }
  Job& job = jobs_.emplace_back();
  job.thread = std::thread([this, &job, name = std::move(name), listener = std::move(listener)] {
    const auto result = store_.Pull(name, {listener.on_progress, nullptr}, *job.cancel);
    listener.on_end(result);
    const std::lock_guard end_lock(mutex_);
    job.ended = true;
  });
  return job.cancel;
}

}  // namespace lem
