// What the executables of one `npu-openvino` share: the opened device, its converted weights, the thread that compiles,
// and what has been done. Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "device/npu/npu_weight_store.h"
#include "device/npu/openvino/openvino_device.h"
#include "device/npu/openvino/openvino_runtime.h"
#include "device/npu/openvino/openvino_weights.h"

namespace lem {

class OpenVinoContext {
 public:
  OpenVinoContext(const OpenVinoOptions& options, std::string_view device_id, const openvino::Runtime& runtime,
                  OpenVinoDeviceHandle device, const KernelTable& kernels, MemoryManager& memory);
  // Ends the thread after the compilation that is under way. REQUIRES: nobody's work is queued.
  ~OpenVinoContext();
  OpenVinoContext(const OpenVinoContext&) = delete;
  OpenVinoContext& operator=(const OpenVinoContext&) = delete;

  const OpenVinoOptions& options() const { return options_; }
  const std::vector<int64_t>& row_buckets() const { return options_.row_buckets; }  // at least one
  const openvino::Runtime& runtime() const { return runtime_; }
  openvino::DeviceHandle* device() const { return device_.get(); }
  NpuWeightStore<OpenVinoWeight>& weights() { return weights_; }

  // Runs `job` on the compiling thread, one after the other; an urgent one goes first. `owner` is whose it is, `id`
  // what it is to the owner. Asked again for one that waits: that one becomes urgent.
  void Enqueue(const void* owner, const void* id, bool urgent, std::function<void()> job);
  // Forgets the owner's jobs and waits for one that is under way.
  void Cancel(const void* owner);

  Status health() const;
  // Once a run has said that the device is gone.
  void SetLost(const Status& why);

  void CountCompiled(bool from_cache, double seconds, uint64_t weight_bytes);
  void CountReleased(uint64_t weight_bytes);
  void CountSubmission();
  void CountRun(double seconds, int64_t rows, int64_t bucket_rows);
  // True for the run that `lose_after` names.
  bool IsToBeLost() const;
  OpenVinoStats stats() const;

 private:
  struct Job {
    const void* owner = nullptr;
    const void* id = nullptr;
    std::function<void()> run;
  };
  void CompileLoop();

  const OpenVinoOptions options_;
  const openvino::Runtime& runtime_;
  const OpenVinoDeviceHandle device_;
  NpuWeightStore<OpenVinoWeight> weights_;

  mutable std::mutex mutex_;  // of what follows
  Status health_;
  OpenVinoStats stats_;

  std::mutex queue_mutex_;
  std::condition_variable queue_changed_;
  std::deque<Job> queue_;
  const void* running_owner_ = nullptr;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace lem
