// What keeps one sequence's answer inside its grammar: the mask of each step, and the tokens that need no step.
// Belongs to the engine's thread; after it was made it allocates no memory of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "grammar/grammar.h"

namespace lem {

class Constraint {
 public:
  // Makes a matcher with its first mask, so that none of the work of a new grammar is left to the engine's thread: may
  // take some ten milliseconds. Errors: as GrammarMatcher::FillMask.
  static Result<std::unique_ptr<Constraint>> Create(std::shared_ptr<const Grammar> grammar,
                                                    std::shared_ptr<const GrammarVocabulary> vocabulary);

  // Makes the mask of the position, if there is none yet: to be called while a device computes its logits.
  void Prepare();
  // Makes every token impossible that may not follow. REQUIRES: logits.size() >= the vocabulary's. Errors: Internal
  // when no token may follow, or a step is over the matcher's budget.
  Status Mask(std::span<float> logits);
  // The answer may end here.
  bool MayEnd() const { return matcher_->MayEnd(); }
  // Moves over a token. Errors: Internal for one that the mask has not.
  Status Accept(int32_t token);
  // Nothing but the end may follow.
  bool MustEnd() { return matcher_->MustEnd(); }
  // The tokens that have to follow here, at most `max_tokens`; already accepted.
  std::vector<int32_t> TakeForced(const Tokenizer& tokenizer, int64_t max_tokens);

 private:
  Constraint(std::unique_ptr<GrammarMatcher> matcher, size_t mask_words, size_t vocab_size)
      : matcher_(std::move(matcher)), mask_(mask_words), vocab_size_(vocab_size) {}

  std::unique_ptr<GrammarMatcher> matcher_;
  std::vector<uint32_t> mask_;
  size_t vocab_size_;
  bool has_mask_ = false;  // mask_ is that of the position
  Status mask_status_;
};

}  // namespace lem
