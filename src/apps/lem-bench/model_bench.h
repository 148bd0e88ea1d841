// Times one model through the engine, with nothing else on top: no tokeniser, no server, no scheduler.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "device/registry.h"
#include "engine/engine.h"
#include "models/model.h"

namespace lem {

struct ModelBenchOptions {
  std::filesystem::path model;
  int32_t num_threads = 0;             // 0 = one a processor
  std::vector<int64_t> prefill_sizes;  // tokens of a prompt; at least 1 each
  std::vector<int64_t> decode_sizes;   // tokens of an answer; at least 1 each
  int64_t depth = 0;                   // tokens in the context before an answer begins
  int64_t batch = 1;                   // sequences that answer at a time; their prompts are computed one by one
  int32_t num_runs = 5;                // of each test, the tests taking turns; at least 1
};

struct ModelBenchResult {
  std::string test;  // "prefill" or "decode"
  int64_t num_tokens = 0;
  int64_t depth = 0;
  int64_t batch = 1;
  std::vector<double> seconds;  // of each run

  // From the fastest run: on a shared machine everything else measures the neighbours.
  double BestTokensPerSecond() const;
  double MedianTokensPerSecond() const;
};

// Not thread-safe.
class ModelBench {
 public:
  // Errors: those of LoadModel and Engine::Create.
  static Result<std::unique_ptr<ModelBench>> Create(ModelBenchOptions options);

  // One result a size, prefills first. The first run of all is thrown away: it maps the file and repacks weights.
  Result<std::vector<ModelBenchResult>> Run();

  const Model& model() const { return *model_; }
  int num_threads() const { return pool_.num_threads(); }

 private:
  explicit ModelBench(ModelBenchOptions options);

  // Wall time of a prompt of `num_tokens`, logits of its last token included.
  Result<double> TimePrefill(int64_t num_tokens);
  // Wall time of `num_tokens` steps of one token for each of `batch` sequences after `depth` others (at least one),
  // each chosen greedily.
  Result<double> TimeDecode(int64_t num_tokens, int64_t depth);
  // Starts a sequence with a prompt of arbitrary tokens.
  void Begin(SequenceId id, int64_t prompt_tokens, int64_t answer_tokens);
  // The next `num_tokens` tokens of each sequence below `num_sequences`, in steps of at most `tokens_per_step` a
  // sequence.
  Status Compute(SequenceId first, int64_t num_sequences, int64_t num_tokens, int64_t tokens_per_step);

  const ModelBenchOptions options_;
  ThreadPool pool_;
  std::unique_ptr<MemoryManager> memory_;
  DeviceRegistry devices_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace lem
