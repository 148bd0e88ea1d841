// Chooses the next token of one sequence from its logits.
//
// Order of the filters: logit bias and penalties change logits; then temperature; then top-k, typical, top-p and min-p
// narrow the candidates, each on the distribution the one before left; then one draw. Temperature 0 takes the likeliest
// token after bias and penalties. The same seed and logits give the same tokens on every machine and at any load.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <unordered_map>
#include <vector>

#include "kernels/kernels.h"
#include "request/request.h"

namespace lem {

// Memory that samplers of one thread share from token to token.
struct SamplerScratch {
  struct Candidate {
    int32_t token;
    float value;  // logit over temperature, then probability
  };
  std::vector<Candidate> candidates;
  std::vector<std::pair<float, uint32_t>> order;  // of typical sampling
  std::vector<float> original;                    // logits before bias and penalties
};

// Errors: InvalidArgument naming the parameter, its value and its range.
Status CheckSamplingParams(const SamplingParams& params);

class Sampler {
 public:
  // REQUIRES: CheckSamplingParams(params).ok(). Tokens of the prompt count for the penalties.
  Sampler(const SamplingParams& params, uint64_t seed, std::span<const int32_t> prompt);

  // logits: [vocab_size], changed by bias and penalties. The token is counted for later penalties.
  int32_t Sample(std::span<float> logits, const KernelTable& kernels, SamplerScratch& scratch);
  // Counts a token that was not sampled.
  void Count(int32_t token) {
    if (has_penalties()) Remember(token);
  }

 private:
  void ApplyBiasAndPenalties(std::span<float> logits) const;
  int32_t Draw(std::span<const float> logits, SamplerScratch& scratch);
  void Remember(int32_t token);
  bool has_penalties() const;

  SamplingParams params_;
  std::mt19937_64 random_;
  std::vector<int32_t> history_;                 // only with penalties
  std::unordered_map<int32_t, int32_t> counts_;  // occurrences in the penalty window
};

// The `count` likeliest tokens with their log probabilities, likeliest first, ties by lower id. log_sum is
// log(sum(exp(logits))).
std::vector<TokenLogprob> TopLogprobs(std::span<const float> logits, float log_sum, int32_t count);

}  // namespace lem
