#include "engine/constraint.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace lem {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();
constexpr size_t kWordBits = 32;

}  // namespace

Result<std::unique_ptr<Constraint>> Constraint::Create(std::shared_ptr<const Grammar> grammar,
                                                       std::shared_ptr<const GrammarVocabulary> vocabulary) {
  const size_t words = vocabulary->mask_words(), size = vocabulary->size();
  std::unique_ptr<Constraint> constraint(
      new Constraint(GrammarMatcher::Create(std::move(grammar), std::move(vocabulary)), words, size));
  LEM_TRY(constraint->matcher_->FillMask(constraint->mask_));
  constraint->has_mask_ = true;
  return constraint;
}

void Constraint::Prepare() {
  if (std::exchange(has_mask_, true)) return;
  mask_status_ = matcher_->FillMask(mask_);
}

Status Constraint::Mask(std::span<float> logits) {
  Prepare();
  if (!mask_status_.ok()) return Internal("the answer cannot be kept in its form: {}", mask_status_.message());
  for (size_t word = 0; word < mask_.size(); ++word) {
    uint32_t forbidden = ~mask_[word];
    if (forbidden == 0) continue;
    const size_t begin = word * kWordBits, end = std::min({begin + kWordBits, logits.size(), vocab_size_});
    if (forbidden == ~uint32_t{0}) {
      if (begin < end)
        std::fill(logits.begin() + static_cast<std::ptrdiff_t>(begin),
                  logits.begin() + static_cast<std::ptrdiff_t>(end), kImpossible);
      continue;
    }
    for (size_t i = begin; i < end; ++i, forbidden >>= 1) {
      if ((forbidden & 1) != 0) logits[i] = kImpossible;
    }
  }
  // Rows of the embedding table that no token belongs to.
  if (vocab_size_ < logits.size()) {
    std::fill(logits.begin() + static_cast<std::ptrdiff_t>(vocab_size_), logits.end(), kImpossible);
  }
  return OkStatus();
}

Status Constraint::Accept(int32_t token) {
  has_mask_ = false;
  if (matcher_->Accept(token)) return OkStatus();
  const Status status = matcher_->status();
  return Internal("the answer cannot be kept in its form: {}",
                  status.ok() ? "a token was chosen that may not follow" : status.message());
}

std::vector<int32_t> Constraint::TakeForced(const Tokenizer& tokenizer, int64_t max_tokens) {
  if (max_tokens <= 0) return {};
  std::vector<int32_t> tokens = matcher_->ForcedTokens(tokenizer);
  if (static_cast<int64_t>(tokens.size()) > max_tokens) tokens.resize(static_cast<size_t>(max_tokens));
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (matcher_->Accept(tokens[i])) {
      has_mask_ = false;
      continue;
    }
    tokens.resize(i);  // a step is over its budget: the next mask tells
    break;
  }
  return tokens;
}

}  // namespace lem
