#include "scheduler/step_costs.h"

#include <algorithm>
#include <bit>

namespace lem {
namespace {

// Weight of the newest value. Chunks of one prompt become dearer as it grows, so what they add is followed quickly.
constexpr double kNewest = 0.4;
// Steps after which what answers take alone is looked at again: contexts have grown by then.
constexpr int64_t kStale = 128;

}  // namespace

void StepCosts::Average::Add(double value, int64_t now) {
  seconds = seconds == 0 ? value : seconds + kNewest * (value - seconds);
  seen_at = now;
}

size_t StepCosts::BucketOf(int64_t rows) {
  return std::min<size_t>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(rows, 1))) - 1, kNumBuckets - 1);
}

void StepCosts::Record(int64_t answer_rows, int64_t prompt_rows, double seconds) {
  if (seconds <= 0 || answer_rows + prompt_rows <= 0) return;
  ++num_steps_;
  if (prompt_rows == 0) {
    alone_[BucketOf(answer_rows)].Add(seconds, num_steps_);
    return;
  }
  if (answer_rows == 0) {
    // Short remainders cost more a row and say little about prompts.
    const double row_s = seconds / static_cast<double>(prompt_rows);
    const double weight = has_prompts_ ? std::min(kNewest, static_cast<double>(prompt_rows) / 512) : 1;
    prompt_row_s_ += weight * (row_s - prompt_row_s_);
    has_prompts_ = true;
    return;
  }
  const Average& alone = alone_[BucketOf(answer_rows)];
  if (alone.seconds == 0) return;
  const double least = prompt_row_s_ / 8;  // noise must not make prompts free
  const double added = std::max(least, (seconds - alone.seconds) / static_cast<double>(prompt_rows));
  added_[BucketOf(answer_rows)].Add(added, num_steps_);
}

std::optional<double> StepCosts::AnswersAlone(int64_t answer_rows) const {
  const Average& alone = alone_[BucketOf(answer_rows)];
  if (alone.seconds == 0 || num_steps_ - alone.seen_at > kStale) return std::nullopt;
  return alone.seconds;
}

std::optional<int64_t> StepCosts::PromptRowsWithin(int64_t answer_rows, double seconds) const {
  const Average &alone = alone_[BucketOf(answer_rows)], &added = added_[BucketOf(answer_rows)];
  if (alone.seconds == 0) return std::nullopt;
  const double row_s = added.seconds == 0 ? prompt_row_s_ : added.seconds;
  return static_cast<int64_t>(std::max(0.0, seconds - alone.seconds) / row_s);
}

}  // namespace lem
