// Memory and budget of one render: a bump arena that frees everything at once, and counters of steps, bytes and time.
// A crossed limit is remembered: allocation goes on to return valid (empty) objects, and the evaluator, which asks
// status() at every step, ends the render. So code that builds values needs no error path of its own. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/status.h"

namespace lem::jinja {

// What one render may use. The defaults are some hundred times what the largest known chat template needs for a long
// conversation, and end a hostile one well within a second.
struct RenderLimits {
  uint64_t max_steps = 2'000'000;                  // evaluated nodes, items and KiB of text
  size_t max_memory_bytes = size_t{64} << 20;      // everything allocated during the render
  size_t max_output_bytes = size_t{8} << 20;       // rendered text
  size_t max_text_bytes = size_t{16} << 20;        // any one string
  int max_depth = 800;                             // nested evaluations; a macro call takes some five
  int64_t max_cpu_time_ns = int64_t{200'000'000};  // of the rendering thread: a busy machine must not fail a render
};

class Heap {
 public:
  explicit Heap(const RenderLimits& limits);
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // An object that lives as long as the heap; its destructor never runs.
  template <typename T, typename... Args>
  T* New(Args&&... args) {
    static_assert(std::is_trivially_destructible_v<T>);
    return new (Allocate(sizeof(T))) T{std::forward<Args>(args)...};
  }
  // Uninitialised memory for `count` objects, or nullptr (and the budget is marked as crossed) if it is too much.
  template <typename T>
  T* NewArray(size_t count) {
    static_assert(std::is_trivially_destructible_v<T> && std::is_trivially_copyable_v<T>);
    if (count > limits_.max_memory_bytes / sizeof(T) || !HasRoom(count * sizeof(T))) return nullptr;
    return static_cast<T*>(Allocate(count * sizeof(T)));
  }
  // Takes over `text`; the view stays valid as long as the heap.
  std::string_view Keep(std::string text);

  // True if `bytes` more may be allocated. False marks the memory budget as crossed.
  bool HasRoom(size_t bytes);
  // Counts work: one step for each evaluated node or list item, one for each KiB of text looked at.
  void Spend(uint64_t steps) {
    steps_ += steps;
    if (steps_ >= next_check_) CheckBudget();
  }
  void SpendBytes(size_t bytes) {
    spent_bytes_ += bytes;
    if (spent_bytes_ < 1024) return;
    Spend(spent_bytes_ >> 10);
    spent_bytes_ &= 1023;
  }
  // Marks a limit as crossed; the first reason stays.
  void Exhaust(std::string reason);

  bool exhausted() const { return exhausted_; }
  // OK, or ResourceExhausted with the limit that was crossed.
  Status status() const { return exhausted_ ? ResourceExhausted("chat template: {}", reason_) : OkStatus(); }
  const RenderLimits& limits() const { return limits_; }

 private:
  void* Allocate(size_t bytes);
  void CheckBudget();

  RenderLimits limits_;
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
  std::deque<std::string> kept_;
  std::byte* free_ = nullptr;
  size_t free_bytes_ = 0;
  size_t used_bytes_ = 0;
  size_t spent_bytes_ = 0;  // below one step
  uint64_t steps_ = 0;
  uint64_t next_check_ = 0;
  int64_t start_ns_ = 0;
  bool exhausted_ = false;
  std::string reason_;
};

}  // namespace lem::jinja
