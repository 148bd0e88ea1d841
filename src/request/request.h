// What a caller asks of a model and what comes back: the types that every dialect, the CLI, the scheduler and the
// engine share. Plain data.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"

namespace lem {

// How the next token is chosen from the logits. Defaults: greedy off, as the OpenAI API has them.
struct SamplingParams {
  float temperature = 1.0f;         // 0 = greedy; 0 to 2
  int32_t top_k = 0;                // keep the k likeliest; 0 = all
  float top_p = 1.0f;               // nucleus mass, 0 to 1; 1 = off
  float min_p = 0.0f;               // drop tokens below min_p * p(likeliest); 0 = off
  float typical_p = 1.0f;           // locally typical mass; 1 = off
  float repetition_penalty = 1.0f;  // divides positive, multiplies negative logits of seen tokens (CTRL); 1 = off
  float frequency_penalty = 0.0f;   // subtracted once per earlier occurrence; -2 to 2
  float presence_penalty = 0.0f;    // subtracted if it occurred; -2 to 2
  int32_t penalty_window = -1;      // last n tokens of prompt and answer that penalties look at; -1 = all
  std::vector<std::pair<int32_t, float>> logit_bias;  // token id, added to its logit
  std::optional<uint64_t> seed;                       // unset = a fresh random one
};

using Clock = std::chrono::steady_clock;

// Shared by a request's owner and the engine; Cancel may be called from any thread, any number of times.
class CancelToken {
 public:
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> cancelled_{false};
};

// Who is served first when there is not enough for all.
enum class Priority { kInteractive, kBatch, kBackground };
inline constexpr int kNumPriorities = 3;

// How the last hidden states of a prompt become one vector: their mean, that of the last token, that of the first.
enum class Pooling { kNone, kMean, kLast, kFirst };

class Grammar;  // grammar/grammar.h

// One generation: token ids in, tokens out. Text, templates and stop strings are handled above the engine.
struct GenerateRequest {
  std::string id;               // for logs and answers
  std::string model;            // id of a loaded model
  std::vector<int32_t> prompt;  // token ids, at least one
  int32_t max_tokens = -1;      // tokens to generate; 0 = only evaluate the prompt; -1 = until the context is full
  SamplingParams sampling;
  Pooling pooling = Pooling::kNone;  // not kNone: the answer is an EmbeddingEvent, and no tokens
  bool ignore_end_tokens = false;    // do not stop at end-of-generation tokens
  // What the answer must be; shared with other requests for the same. Null = anything.
  std::shared_ptr<const Grammar> grammar;
  int32_t num_logprobs = -1;     // per generated token: -1 none, 0 the chosen one, n also the n likeliest (<= 20)
  bool prompt_logprobs = false;  // also for each prompt token (num_logprobs says how many alternatives)
  Clock::time_point deadline = Clock::time_point::max();
  std::string cache_salt;  // prompts share keys and values only with requests of the same salt
  Priority priority = Priority::kInteractive;
  std::string tenant;         // those of one share what falls to it; empty is one, too
  double ttft_target_ms = 0;  // wished for: to the first token, and between tokens; 0 = nothing in particular
  double tpot_target_ms = 0;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0.0f;
};

// A generated (or, with prompt_logprobs, a prompt) token.
struct TokenEvent {
  int32_t token = 0;
  float logprob = 0.0f;           // natural logarithm, of the model's distribution before temperature; if asked for
  std::vector<TokenLogprob> top;  // likeliest first, if asked for
};

enum class FinishReason { kStop, kLength, kCancelled, kError };

// Why what follows the cached tokens of a prompt had to be computed.
enum class CacheMiss {
  kNone,     // only the last, unfinished block and the last token did
  kOff,      // the request neither takes nor leaves keys and values
  kNew,      // nobody's prompt began so, or none went on after it
  kDiffers,  // earlier prompts began so and went on otherwise
  kEvicted,  // it was known and has given way to others
};

struct Usage {
  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;
  int32_t cached_tokens = 0;  // of the prompt, taken from the prefix cache
  CacheMiss cache_miss = CacheMiss::kNone;
  int32_t guessed_tokens = 0;    // of the completion, computed before they were known to follow
  int32_t reasoning_tokens = 0;  // of the completion, where the model's reasoning can be told apart
  int32_t handovers = 0;         // moves to devices of other numerics while it ran
  // Wall time in the three states, for `lem run` and metrics.
  double queue_ms = 0, prefill_ms = 0, decode_ms = 0;
  double joules = 0;                               // 0 if the source is "unavailable"
  std::string_view energy_source = "unavailable";  // "rail", "package", "board" or "modelled"
};

struct QueuedEvent {
  int32_t position = 0;    // requests before this one
  double expected_ms = 0;  // until its first token, as far as anybody can tell
};
struct PrefillProgressEvent {
  int32_t done_tokens = 0;
  int32_t total_tokens = 0;
};
// Logprobs of the prompt: entry i belongs to prompt token i; entry 0 has none (logprob NaN).
struct PromptLogprobsEvent {
  std::vector<TokenEvent> tokens;
};
struct EmbeddingEvent {
  std::vector<float> values;  // [hidden_size], as the model has them: not normalised
};
struct FinishedEvent {
  FinishReason reason = FinishReason::kStop;
  Status status;  // set for kError and kCancelled
  Usage usage;
};

using Event =
    std::variant<QueuedEvent, PrefillProgressEvent, PromptLogprobsEvent, TokenEvent, EmbeddingEvent, FinishedEvent>;

}  // namespace lem
