// Guesses of the next tokens of an answer, which are computed in one step and kept as far as they come true.
//
// A guess is what followed when the last tokens appeared before: in the prompt (quotations, code that is edited) or in
// the answer (repetitions). Every token is sampled from the model's own logits whether it was guessed or not, with the
// same random numbers, so answers are the same with and without. What remains is the question whether it pays.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace lem {

// Of one sequence.
class Drafter {
 public:
  // The sequence goes on with these tokens.
  void Append(std::span<const int32_t> tokens);
  // At most `max_tokens`; empty if nothing like the end was there before.
  std::vector<int32_t> Propose(int64_t max_tokens) const;
  // So many of the tokens proposed came true.
  void Record(int64_t num_proposed, int64_t num_accepted);

  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  // Share of guesses that come true, as far as it is known.
  double acceptance() const { return acceptance_; }

 private:
  static constexpr int64_t kMatch = 3;  // tokens that have to be the same
  uint64_t KeyAt(size_t end) const;

  std::vector<int32_t> tokens_;
  std::unordered_map<uint64_t, size_t> ends_;  // of the latest place of each kMatch tokens but the last
  double acceptance_ = 0.5;
};

// What rows cost, of one engine.
class DraftPolicy {
 public:
  // A step of so many rows of answers took `seconds`.
  void RecordStep(int64_t rows, double seconds);
  // How many tokens are worth guessing for one of a step's sequences, beside so many rows of others and its own.
  int64_t BestLength(double acceptance, int64_t rows, int64_t max_length) const;

 private:
  // Sums over steps, older ones weighing less: rows, seconds, and their products.
  double weight_ = 0, rows_ = 0, seconds_ = 0, rows_rows_ = 0, rows_seconds_ = 0;
};

}  // namespace lem
