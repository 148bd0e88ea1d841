#include "text/jinja/heap.h"

#include <time.h>

#include <algorithm>

namespace lem::jinja {
namespace {

constexpr size_t kBlockBytes = size_t{64} << 10;
constexpr size_t kAlign = 16;
// Steps between two looks at the clock: 1,024 steps take some 50 us, the system call 0.3 us.
constexpr uint64_t kStepsPerCheck = 1024;

int64_t ThreadCpuTimeNs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

Heap::Heap(const RenderLimits& limits) : limits_(limits), next_check_(kStepsPerCheck), start_ns_(ThreadCpuTimeNs()) {}

void* Heap::Allocate(size_t bytes) {
  bytes = (bytes + kAlign - 1) & ~(kAlign - 1);
  if (HasRoom(bytes)) used_bytes_ += bytes;
  if (bytes > kBlockBytes / 4) {
    blocks_.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes));
    return blocks_.back().get();
  }
  if (bytes > free_bytes_) {
    blocks_.push_back(std::make_unique_for_overwrite<std::byte[]>(kBlockBytes));
    free_ = blocks_.back().get();
    free_bytes_ = kBlockBytes;
  }
  void* out = free_;
  free_ += bytes;
  free_bytes_ -= bytes;
  return out;
}

std::string_view Heap::Keep(std::string text) {
  if (!HasRoom(text.size())) return {};
  used_bytes_ += text.size() + sizeof(std::string);
  kept_.push_back(std::move(text));
  return kept_.back();
}

bool Heap::HasRoom(size_t bytes) {
  if (bytes > limits_.max_memory_bytes - std::min(used_bytes_, limits_.max_memory_bytes)) {
    Exhaust(fmt::format("needs more memory than the {} MiB allowed", limits_.max_memory_bytes >> 20));
  }
  return !exhausted_;
}

void Heap::Exhaust(std::string reason) {
  if (exhausted_) return;
  exhausted_ = true;
  reason_ = std::move(reason);
}

void Heap::CheckBudget() {
  next_check_ = steps_ + kStepsPerCheck;
  if (steps_ > limits_.max_steps) {
    Exhaust(fmt::format("takes more than the {} steps allowed", limits_.max_steps));
  } else if (ThreadCpuTimeNs() - start_ns_ > limits_.max_cpu_time_ns) {
    Exhaust(fmt::format("takes longer than the {} ms allowed", limits_.max_cpu_time_ns / 1'000'000));
  }
}

}  // namespace lem::jinja
