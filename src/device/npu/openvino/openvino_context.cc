#include "device/npu/openvino/openvino_context.h"

#include <sys/resource.h>

#include <algorithm>

namespace lem {

OpenVinoContext::OpenVinoContext(const OpenVinoOptions& options, std::string_view device_id,
                                 const openvino::Runtime& runtime, OpenVinoDeviceHandle device,
                                 const KernelTable& kernels, MemoryManager& memory)
    : options_(options),
      runtime_(runtime),
      device_(std::move(device)),
      weights_(device_id, ConvertOpenVinoWeight, kernels, memory),
      thread_([this] { CompileLoop(); }) {}

OpenVinoContext::~OpenVinoContext() {
  {
    const std::lock_guard lock(queue_mutex_);
    stopping_ = true;
  }
  queue_changed_.notify_all();
  thread_.join();
}

void OpenVinoContext::Enqueue(const void* owner, const void* id, bool urgent, std::function<void()> job) {
  {
    const std::lock_guard lock(queue_mutex_);
    const auto known =
        std::ranges::find_if(queue_, [&](const Job& queued) { return queued.owner == owner && queued.id == id; });
    if (known != queue_.end()) {
      if (urgent) std::rotate(queue_.begin(), known, known + 1);
      return;
    }
    Job added{owner, id, std::move(job)};
    urgent ? queue_.push_front(std::move(added)) : queue_.push_back(std::move(added));
  }
  queue_changed_.notify_all();
}

void OpenVinoContext::Cancel(const void* owner) {
  std::unique_lock lock(queue_mutex_);
  std::erase_if(queue_, [&](const Job& job) { return job.owner == owner; });
  queue_changed_.wait(lock, [&] { return running_owner_ != owner; });
}

void OpenVinoContext::CompileLoop() {
  constexpr int kNice = 10;  // steps that run meanwhile come first; on Linux this is the thread's own
  ::setpriority(PRIO_PROCESS, 0, kNice);
  std::unique_lock lock(queue_mutex_);
  while (true) {
    queue_changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const Job job = std::move(queue_.front());
    queue_.pop_front();
    running_owner_ = job.owner;
    lock.unlock();
    job.run();
    lock.lock();
    running_owner_ = nullptr;
    queue_changed_.notify_all();
  }
}

Status OpenVinoContext::health() const {
  const std::lock_guard lock(mutex_);
  return health_;
}

void OpenVinoContext::SetLost(const Status& why) {
  const std::lock_guard lock(mutex_);
  if (health_.ok()) health_ = why;
}

void OpenVinoContext::CountCompiled(bool from_cache, double seconds, uint64_t weight_bytes) {
  const std::lock_guard lock(mutex_);
  ++(from_cache ? stats_.graphs_from_cache : stats_.graphs_compiled);
  stats_.compile_s += seconds;
  stats_.graph_bytes += weight_bytes;
}

void OpenVinoContext::CountReleased(uint64_t weight_bytes) {
  const std::lock_guard lock(mutex_);
  stats_.graph_bytes -= weight_bytes;
}

void OpenVinoContext::CountSubmission() {
  const std::lock_guard lock(mutex_);
  ++stats_.submissions;
}

void OpenVinoContext::CountRun(double seconds, int64_t rows, int64_t bucket_rows) {
  const std::lock_guard lock(mutex_);
  ++stats_.runs;
  stats_.busy_s += seconds;
  stats_.rows += static_cast<uint64_t>(rows);
  stats_.bucket_rows += static_cast<uint64_t>(bucket_rows);
}

bool OpenVinoContext::IsToBeLost() const {
  const std::lock_guard lock(mutex_);
  return options_.lose_after > 0 && stats_.submissions >= options_.lose_after;
}

OpenVinoStats OpenVinoContext::stats() const {
  const std::lock_guard lock(mutex_);
  OpenVinoStats stats = stats_;
  stats.weights_converted = weights_.num_converted();
  stats.weight_bytes = weights_.bytes_in_use();
  return stats;
}

}  // namespace lem
