#include "apps/lem-bench/model_bench.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/file.h"
#include "device/cpu/cpu_device.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

class IgnoreEvents : public EventSink {
 public:
  void Emit(Event /*event*/) override {}
};

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

}  // namespace

double ModelBenchResult::BestTokensPerSecond() const {
  return static_cast<double>(num_tokens * batch) / *std::ranges::min_element(seconds);
}

double ModelBenchResult::MedianTokensPerSecond() const {
  std::vector<double> sorted = seconds;
  std::ranges::sort(sorted);
  const size_t middle = sorted.size() / 2;
  const double median = sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return static_cast<double>(num_tokens * batch) / median;
}

ModelBench::ModelBench(ModelBenchOptions options) : options_(std::move(options)), pool_(options_.num_threads) {}

Result<std::unique_ptr<ModelBench>> ModelBench::Create(ModelBenchOptions options) {
  std::unique_ptr<ModelBench> bench(new ModelBench(std::move(options)));
  const ModelBenchOptions& wanted = bench->options_;
  const KernelTable& kernels = BestKernelTable();
  LEM_ASSIGN_OR_RETURN(bench->memory_, MemoryManager::Create());
  bench->devices_.Add(MakeCpuDevice(bench->pool_, kernels, bench->memory_.get(), CacheDir() / "cpu"));
  LEM_ASSIGN_OR_RETURN(bench->model_, LoadModel(wanted.model));
  EngineOptions engine_options;
  for (const int64_t size : wanted.prefill_sizes) {
    engine_options.context_length = std::max(engine_options.context_length, size);
  }
  for (const int64_t size : wanted.decode_sizes) {
    engine_options.context_length =
        std::max(engine_options.context_length, std::max<int64_t>(wanted.depth, 1) + size + 1);
  }
  LEM_ASSIGN_OR_RETURN(bench->engine_,
                       Engine::Create(*bench->model_, bench->devices_, *bench->memory_, kernels, engine_options));
  return bench;
}

Result<std::vector<ModelBenchResult>> ModelBench::Run() {
  std::vector<ModelBenchResult> results;
  results.reserve(options_.prefill_sizes.size() + options_.decode_sizes.size());
  for (const int64_t size : options_.prefill_sizes) results.push_back({"prefill", size, 0, 1, {}});
  for (const int64_t size : options_.decode_sizes) {
    results.push_back({"decode", size, options_.depth, options_.batch, {}});
  }
  for (int32_t run = -1; run < options_.num_runs; ++run) {
    for (ModelBenchResult& result : results) {
      LEM_ASSIGN_OR_RETURN(const double seconds, result.test == "prefill"
                                                     ? TimePrefill(result.num_tokens)
                                                     : TimeDecode(result.num_tokens, result.depth));
      if (run >= 0) result.seconds.push_back(seconds);
    }
  }
  return results;
}

void ModelBench::Begin(SequenceId id, int64_t prompt_tokens, int64_t answer_tokens) {
  GenerateRequest request;
  const int64_t vocab_size = model_->graph.vocab_size;
  // Which tokens they are makes no difference to the time; the multiplier spreads them over the embedding table.
  for (int64_t i = 0; i < prompt_tokens; ++i)
    request.prompt.push_back(static_cast<int32_t>((i * 7919 + 11) % vocab_size));
  request.max_tokens = static_cast<int32_t>(answer_tokens);
  request.sampling.temperature = 0;
  request.ignore_end_tokens = true;
  engine_->Add(id, std::make_shared<const GenerateRequest>(std::move(request)), std::make_shared<IgnoreEvents>());
}

Status ModelBench::Compute(SequenceId first, int64_t num_sequences, int64_t num_tokens, int64_t tokens_per_step) {
  std::vector<EngineRows> rows(static_cast<size_t>(num_sequences));
  for (int64_t done = 0; done < num_tokens;) {
    const int64_t now = std::min(num_tokens - done, tokens_per_step);
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = {first + i, now};
    const Engine::StepOutcome outcome = engine_->Step(rows);
    LEM_TRY(outcome.error);
    done += now;
    LEM_CHECK(outcome.finished.empty() || done == num_tokens) << "the sequence ended early";
  }
  return OkStatus();
}

Result<double> ModelBench::TimePrefill(int64_t num_tokens) {
  Begin(0, num_tokens, 0);
  const Clock::time_point begin = Clock::now();
  LEM_TRY(Compute(0, 1, num_tokens, engine_->max_step_tokens()));
  return SecondsSince(begin);
}

Result<double> ModelBench::TimeDecode(int64_t num_tokens, int64_t depth) {
  const int64_t prompt_tokens = std::max<int64_t>(depth, 1);
  // The prompt's last row gives the first token of the answer; each step after it computes one token and gives the
  // next.
  for (int64_t i = 0; i < options_.batch; ++i) {
    Begin(static_cast<SequenceId>(i), prompt_tokens, num_tokens + 1);
    LEM_TRY(Compute(static_cast<SequenceId>(i), 1, prompt_tokens, engine_->max_step_tokens()));
  }
  const Clock::time_point begin = Clock::now();
  LEM_TRY(Compute(0, options_.batch, num_tokens, 1));
  return SecondsSince(begin);
}

}  // namespace lem
