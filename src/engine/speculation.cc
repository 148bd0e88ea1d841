#include "engine/speculation.h"

#include <algorithm>
#include <cmath>

#include "base/hash.h"

namespace lem {
namespace {

// How quickly acceptance follows what happens, and how quickly it is tried again after guesses had failed.
constexpr double kNewest = 0.15;
constexpr double kRecovery = 0.01, kHope = 0.5;
// Weight of a step after the next one.
constexpr double kMemory = 0.98;
// Of a step's time with one row, that another row adds, until it was measured; and how much measuring outweighs it.
constexpr double kUsualRow = 0.25, kUsualWeight = 2;
// A gain below this is noise.
constexpr double kWorthwhile = 1.05;

}  // namespace

uint64_t Drafter::KeyAt(size_t end) const {
  uint64_t key = kHashSeed;
  for (size_t i = end - kMatch; i < end; ++i) key = HashWord(key, static_cast<uint32_t>(tokens_[i]));
  return key;
}

void Drafter::Append(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) {
    // The end itself is not indexed before something follows it.
    if (tokens_.size() >= kMatch) ends_[KeyAt(tokens_.size())] = tokens_.size();
    tokens_.push_back(token);
  }
}

std::vector<int32_t> Drafter::Propose(int64_t max_tokens) const {
  if (max_tokens <= 0 || tokens_.size() < kMatch) return {};
  const auto found = ends_.find(KeyAt(tokens_.size()));
  if (found == ends_.end()) return {};
  const auto begin = tokens_.begin() + static_cast<std::ptrdiff_t>(found->second);
  return {begin, begin + std::min<std::ptrdiff_t>(max_tokens, tokens_.end() - begin)};
}

void Drafter::Record(int64_t num_proposed, int64_t num_accepted) {
  if (num_proposed == 0) {
    acceptance_ += kRecovery * std::max(0.0, kHope - acceptance_);
    return;
  }
  for (int64_t i = 0; i < num_accepted; ++i) acceptance_ += kNewest * (1 - acceptance_);
  if (num_accepted < num_proposed) acceptance_ -= kNewest * acceptance_;
}

void DraftPolicy::RecordStep(int64_t rows, double seconds) {
  const auto x = static_cast<double>(rows);
  for (double* sum : {&weight_, &rows_, &seconds_, &rows_rows_, &rows_seconds_}) *sum *= kMemory;
  weight_ += 1;
  rows_ += x;
  seconds_ += seconds;
  rows_rows_ += x * x;
  rows_seconds_ += x * seconds;
}

int64_t DraftPolicy::BestLength(double acceptance, int64_t rows, int64_t max_length) const {
  // A straight line through what was measured, drawn towards the usual slope where rows hardly varied.
  double row_cost = kUsualRow, first_row = 1;
  if (weight_ > 0) {
    const double mean_rows = rows_ / weight_, mean_seconds = seconds_ / weight_;
    const double usual = mean_seconds * kUsualRow / (1 + kUsualRow * (mean_rows - 1));
    const double spread = rows_rows_ - rows_ * mean_rows, joint = rows_seconds_ - rows_ * mean_seconds;
    row_cost = std::max(0.0, (joint + kUsualWeight * usual) / (spread + kUsualWeight));
    first_row = std::max(mean_seconds - row_cost * (mean_rows - 1), mean_seconds / 100);
  }
  const auto present = static_cast<double>(rows);
  const double now = first_row + row_cost * (present - 1);
  int64_t best = 0;
  double best_gain = kWorthwhile, expected = 0, all_true = 1;
  for (int64_t length = 1; length <= max_length; ++length) {
    all_true *= acceptance;
    expected += all_true;
    const double then = now + row_cost * static_cast<double>(length);
    const double gain = (present + expected) / present * now / then;
    if (gain <= best_gain) continue;
    best_gain = gain;
    best = length;
  }
  return best;
}

}  // namespace lem
