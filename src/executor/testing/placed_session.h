// One sequence on a placed model, step by step, for tests: what the engine does without sampling.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "executor/executor.h"

namespace lem {

class PlacedSession {
 public:
  // Steps of at most `max_tokens`, `max_context` tokens in all. The model and the memory must outlive it.
  static Result<std::unique_ptr<PlacedSession>> Create(const PlacedModel& model, MemoryManager& memory,
                                                       int64_t max_tokens, int64_t max_context);

  // Computes the next tokens; their logits are added to logits().
  Status Step(std::span<const int32_t> tokens, Phase phase);
  // `tokens` in steps of the largest size, all of them in one phase.
  Status Run(std::span<const int32_t> tokens, Phase phase);
  // Begins a new sequence.
  void Reset();

  const std::vector<float>& logits() const { return logits_; }  // [tokens so far, vocab_size]

 private:
  PlacedSession(const PlacedModel& model, int64_t max_tokens) : model_(model), max_tokens_(max_tokens) {}

  const PlacedModel& model_;
  const int64_t max_tokens_;
  std::unique_ptr<KvBlockPool> kv_;
  std::unique_ptr<KvResidency> residency_;
  std::array<std::unique_ptr<Executor>, 2> executors_;
  std::vector<BlockId> blocks_;
  int64_t position_ = 0;
  std::vector<float> logits_;
};

// 70 tokens of prompt in two steps and 5 of answer, of TinyTokens: the logits of all of them.
std::vector<float> RunTinyTokens(const PlacedModel& model, MemoryManager& memory);
// Bytes of activations that RunTinyTokens should move.
uint64_t PredictTinyTokensBytes(const PlacedModel& model);

}  // namespace lem
