// A sequence as the engine's sources have it; for nobody else.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace lem {

struct Engine::Sequence {
  SequenceId id = 0;
  std::shared_ptr<const GenerateRequest> request;
  std::shared_ptr<EventSink> sink;
  std::vector<BlockId> blocks;  // block table, for the positions that were computed so far
  std::shared_ptr<Route> route;
  Sampler sampler;
  std::unique_ptr<Constraint> constraint;  // null: the answer is free
  Status error;                            // why it ended with kError
  int64_t answer_limit = 0;
  int32_t handovers = 0;          // to a route of other numerics
  int64_t num_guessed_right = 0;  // tokens of the answer
  int64_t num_cached = 0;         // first positions, taken from the cache
  CacheMiss cache_miss = CacheMiss::kOff;
  std::string cache_space;         // of its keys and values; empty: they are nothing to remember
  int64_t num_computed = 0;        // positions whose KV exists
  std::vector<int32_t> generated;  // the last one is not computed yet, nor are those that were forced before it
  std::vector<TokenEvent> prompt_logprobs;
  std::vector<double> pooled;        // [hidden_size] so far
  std::unique_ptr<Drafter> drafter;  // null: nothing is guessed
  Clock::time_point started = Clock::now();
  Clock::time_point prefill_done{};

  int64_t prompt_size() const { return static_cast<int64_t>(request->prompt.size()); }
  bool in_prompt() const { return num_computed < prompt_size(); }
  int64_t num_known() const { return prompt_size() + static_cast<int64_t>(generated.size()); }
  bool prompt_is_done() const { return prefill_done != Clock::time_point{}; }
  bool is_embedding() const { return request->pooling != Pooling::kNone; }
  bool wants_all_outputs() const { return request->prompt_logprobs && in_prompt() && !prompt_is_done(); }
  int32_t token_at(int64_t position) const {
    return position < prompt_size() ? request->prompt[static_cast<size_t>(position)]
                                    : generated[static_cast<size_t>(position - prompt_size())];
  }
  // Of the positions from `begin` up to `end`.
  std::vector<int32_t> Tokens(int64_t begin, int64_t end) const {
    std::vector<int32_t> tokens;
    tokens.reserve(static_cast<size_t>(end - begin));
    for (int64_t i = begin; i < end; ++i) tokens.push_back(token_at(i));
    return tokens;
  }
};

}  // namespace lem
