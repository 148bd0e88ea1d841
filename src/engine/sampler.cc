#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lem {
namespace {

using Candidate = SamplerScratch::Candidate;

// Likelier first; among equals the lower id, so that the order never depends on the sort.
bool Likelier(const Candidate& a, const Candidate& b) {
  return a.value != b.value ? a.value > b.value : a.token < b.token;
}

void KeepTopK(std::vector<Candidate>& candidates, int32_t k) {
  if (k <= 0 || static_cast<size_t>(k) >= candidates.size()) return;
  std::nth_element(candidates.begin(), candidates.begin() + k, candidates.end(), Likelier);
  candidates.resize(static_cast<size_t>(k));
}

void Softmax(std::vector<Candidate>& candidates) {
  const float max = std::ranges::max_element(candidates, {}, &Candidate::value)->value;
  double sum = 0;
  for (Candidate& c : candidates) {
    c.value = std::exp(c.value - max);
    sum += static_cast<double>(c.value);
  }
  const auto inverse = static_cast<float>(1.0 / sum);
  for (Candidate& c : candidates) c.value *= inverse;
}

void Normalise(std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const Candidate& c : candidates) sum += static_cast<double>(c.value);
  const auto inverse = static_cast<float>(1.0 / sum);
  for (Candidate& c : candidates) c.value *= inverse;
}

// Locally typical sampling (Meister et al. 2022): keeps the tokens whose surprise is nearest to the entropy.
void KeepTypical(std::vector<Candidate>& candidates, float mass, SamplerScratch& scratch) {
  double entropy = 0;
  for (const Candidate& c : candidates) {
    if (c.value > 0) entropy -= static_cast<double>(c.value) * std::log(static_cast<double>(c.value));
  }
  auto& order = scratch.order;
  order.clear();
  for (uint32_t i = 0; i < candidates.size(); ++i) {
    const double surprise = -std::log(std::max(1e-30, static_cast<double>(candidates[i].value)));
    order.emplace_back(static_cast<float>(std::abs(surprise - entropy)), i);
  }
  std::ranges::sort(order);
  std::vector<Candidate> kept;
  double sum = 0;
  for (const auto& [distance, idx] : order) {
    kept.push_back(candidates[idx]);
    sum += static_cast<double>(candidates[idx].value);
    if (sum >= static_cast<double>(mass)) break;
  }
  candidates = std::move(kept);
  Normalise(candidates);
}

// Nucleus sampling: the fewest likeliest tokens whose mass reaches top_p.
void KeepTopP(std::vector<Candidate>& candidates, float top_p) {
  // Sorting everything would cost most of a step with a large vocabulary; sort prefixes that double until the mass is
  // there.
  double sum = 0;
  size_t sorted = 0;
  for (size_t prefix = 64; sorted < candidates.size(); prefix *= 4) {
    const size_t end = std::min(prefix, candidates.size());
    const auto from = candidates.begin() + static_cast<std::ptrdiff_t>(sorted);
    std::partial_sort(from, candidates.begin() + static_cast<std::ptrdiff_t>(end), candidates.end(), Likelier);
    for (; sorted < end; ++sorted) {
      sum += static_cast<double>(candidates[sorted].value);
      if (sum >= static_cast<double>(top_p)) {
        candidates.resize(sorted + 1);
        Normalise(candidates);
        return;
      }
    }
  }
}

void KeepMinP(std::vector<Candidate>& candidates, float min_p) {
  const float threshold = min_p * std::ranges::max_element(candidates, {}, &Candidate::value)->value;
  std::erase_if(candidates, [threshold](const Candidate& c) { return c.value < threshold; });
  Normalise(candidates);
}

template <typename T>
Status CheckRange(const char* name, T value, T low, T high) {
  if (value >= low && value <= high) return OkStatus();  // false for NaN
  return InvalidArgument("{} is {}; allowed: {} to {}", name, value, low, high);
}

}  // namespace

Status CheckSamplingParams(const SamplingParams& params) {
  LEM_TRY(CheckRange("temperature", params.temperature, 0.0f, 2.0f));
  LEM_TRY(CheckRange("top_k", params.top_k, 0, std::numeric_limits<int32_t>::max()));
  LEM_TRY(CheckRange("top_p", params.top_p, 0.0f, 1.0f));
  LEM_TRY(CheckRange("min_p", params.min_p, 0.0f, 1.0f));
  LEM_TRY(CheckRange("typical_p", params.typical_p, 0.0f, 1.0f));
  LEM_TRY(CheckRange("repetition_penalty", params.repetition_penalty, 0.01f, 100.0f));
  LEM_TRY(CheckRange("frequency_penalty", params.frequency_penalty, -2.0f, 2.0f));
  LEM_TRY(CheckRange("presence_penalty", params.presence_penalty, -2.0f, 2.0f));
  LEM_TRY(CheckRange("penalty_window", params.penalty_window, -1, std::numeric_limits<int32_t>::max()));
  for (const auto& [token, bias] : params.logit_bias) {
    if (!(bias >= -100.0f && bias <= 100.0f)) {
      return InvalidArgument("logit_bias of token {} is {}; allowed: -100 to 100", token, bias);
    }
  }
  return OkStatus();
}

Sampler::Sampler(const SamplingParams& params, uint64_t seed, std::span<const int32_t> prompt)
    : params_(params), random_(seed) {
  if (has_penalties()) {
    for (const int32_t token : prompt) Remember(token);
  }
}

bool Sampler::has_penalties() const {
  return params_.penalty_window != 0 &&
         (params_.repetition_penalty != 1.0f || params_.frequency_penalty != 0.0f || params_.presence_penalty != 0.0f);
}

void Sampler::Remember(int32_t token) {
  history_.push_back(token);
  ++counts_[token];
  if (params_.penalty_window > 0 && history_.size() > static_cast<size_t>(params_.penalty_window)) {
    const int32_t oldest = history_[history_.size() - 1 - static_cast<size_t>(params_.penalty_window)];
    if (--counts_[oldest] == 0) counts_.erase(oldest);
  }
}

void Sampler::ApplyBiasAndPenalties(std::span<float> logits) const {
  for (const auto& [token, count] : counts_) {
    if (static_cast<size_t>(token) >= logits.size()) continue;
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
    logit -= params_.frequency_penalty * static_cast<float>(count) + params_.presence_penalty;
  }
  for (const auto& [token, bias] : params_.logit_bias) {
    if (token >= 0 && static_cast<size_t>(token) < logits.size()) logits[static_cast<size_t>(token)] += bias;
  }
}

int32_t Sampler::Draw(std::span<const float> logits, SamplerScratch& scratch) {
  std::vector<Candidate>& candidates = scratch.candidates;
  candidates.resize(logits.size());
  const float inverse_temperature = 1.0f / params_.temperature;
  for (size_t i = 0; i < logits.size(); ++i) candidates[i] = {static_cast<int32_t>(i), logits[i] * inverse_temperature};
  KeepTopK(candidates, params_.top_k);
  Softmax(candidates);
  if (params_.typical_p < 1.0f) KeepTypical(candidates, params_.typical_p, scratch);
  if (params_.top_p < 1.0f) KeepTopP(candidates, params_.top_p);
  if (params_.min_p > 0.0f) KeepMinP(candidates, params_.min_p);
  // 53 random bits make a double in [0, 1); std::uniform_real_distribution is not the same in every library.
  double left = static_cast<double>(random_() >> 11) * 0x1.0p-53;
  for (const Candidate& c : candidates) {
    left -= static_cast<double>(c.value);
    if (left < 0) return c.token;
  }
  // Rounding left a sliver: the likeliest token stands in.
  return std::ranges::min_element(candidates, Likelier)->token;
}

int32_t Sampler::Sample(std::span<float> logits, const KernelTable& kernels, SamplerScratch& scratch) {
  ApplyBiasAndPenalties(logits);
  const int32_t token = params_.temperature < 1e-5f
                            ? static_cast<int32_t>(kernels.argmax(logits.data(), static_cast<int64_t>(logits.size())))
                            : Draw(logits, scratch);
  Count(token);
  return token;
}

std::vector<TokenLogprob> TopLogprobs(std::span<const float> logits, float log_sum, int32_t count) {
  std::vector<TokenLogprob> top;
  const auto kept = static_cast<size_t>(std::max(count, 0));
  const auto likelier = [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token;
  };
  for (size_t i = 0; i < logits.size() && kept > 0; ++i) {
    const TokenLogprob entry{static_cast<int32_t>(i), logits[i] - log_sum};
    if (top.size() == kept && !likelier(entry, top.back())) continue;
    if (top.size() == kept) top.pop_back();
    top.insert(std::ranges::upper_bound(top, entry, likelier), entry);
  }
  return top;
}

}  // namespace lem
