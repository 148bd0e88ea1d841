// What steps of one model took lately: how long answers wait for each other, and what rows of prompts add to that.
//
// Plain numbers that follow the measured ones; no clock of its own. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace lem {

class StepCosts {
 public:
  static constexpr double kGuessedRow = 1e-3;  // seconds, until a prompt has been seen

  // A step of so many rows of answers and of prompts took `seconds`.
  void Record(int64_t answer_rows, int64_t prompt_rows, double seconds);

  // Seconds of a step of answers alone; nullopt if nothing like it was seen, or too long ago to believe it.
  std::optional<double> AnswersAlone(int64_t answer_rows) const;
  // Rows of prompts that fit a step of `seconds` beside these rows of answers; nullopt if it is not known.
  std::optional<int64_t> PromptRowsWithin(int64_t answer_rows, double seconds) const;
  // Seconds that a row of a prompt takes where nothing else is to be done.
  double prompt_row_s() const { return prompt_row_s_; }

 private:
  static constexpr int kNumBuckets = 12;  // of rows, by powers of two
  struct Average {
    double seconds = 0;  // 0 = never seen
    int64_t seen_at = 0;
    void Add(double value, int64_t now);
  };

  static size_t BucketOf(int64_t rows);

  std::array<Average, kNumBuckets> alone_;  // steps of answers, by rows
  std::array<Average, kNumBuckets> added_;  // a row of a prompt beside answers, by rows of answers
  double prompt_row_s_ = kGuessedRow;
  bool has_prompts_ = false;
  int64_t num_steps_ = 0;
};

}  // namespace lem
