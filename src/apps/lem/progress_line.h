// Shows how a pull goes, on stderr: one line that is drawn anew on a terminal, a line now and then elsewhere.
#pragma once

#include <chrono>
#include <string>

#include "runtime/store/model_store.h"

namespace lem {

class ProgressLine {
 public:
  ProgressLine();
  // Leaves no half-drawn line behind.
  ~ProgressLine();

  void Show(const PullProgress& progress);
  void Note(const std::string& text);

 private:
  void Draw(const PullProgress& progress);
  void EraseLine();

  const bool is_terminal_;
  bool has_drawn_ = false;
  PullProgress last_;
  Clock::time_point last_shown_;
  // The rate is that of the last seconds: a mean that forgets.
  double rate_bytes_per_s_ = 0;
  uint64_t rate_done_bytes_ = 0;
  Clock::time_point rate_since_;
};

}  // namespace lem
