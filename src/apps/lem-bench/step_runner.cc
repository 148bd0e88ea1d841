#include "apps/lem-bench/step_runner.h"

#include <chrono>

#include "base/duration.h"
#include "base/file.h"
#include "base/integer_math.h"

namespace lem {

StepShape BenchStep::shape() const {
  const double sequences = phase == Phase::kDecode ? static_cast<double>(rows) : 1;
  const auto all_rows = static_cast<double>(rows);
  return {phase, all_rows, sequences, static_cast<double>(first_position) + all_rows / sequences / 2};
}

Result<std::unique_ptr<StepRunner>> StepRunner::Create(const std::filesystem::path& model, const std::string& device,
                                                       int num_threads) {
  std::unique_ptr<StepRunner> runner(new StepRunner(num_threads));
  LEM_ASSIGN_OR_RETURN(runner->model_, LoadModel(model));
  LEM_ASSIGN_OR_RETURN(runner->memory_, MemoryManager::Create());
  MemoryManager& memory = *runner->memory_;
  const DeviceHost host{runner->pool_, BestKernelTable(), memory, CacheDir()};
  LEM_ASSIGN_OR_RETURN(std::unique_ptr<Device> opened, OpenDevice(device, host));
  Device& own = *opened;
  runner->devices_.Add(std::move(opened));
  Placement placement;
  placement.clauses = {{.device_id = device}};
  const Graph& graph = runner->model_->graph;
  const BoundGraph bound{&graph, runner->model_->bound_weights, &runner->model_->weights};
  LEM_ASSIGN_OR_RETURN(runner->route_,
                       Route::Create(bound, placement, runner->devices_, std::make_shared<PlacedWeights>(memory)));
  LEM_TRY(runner->route_->Compile(kMaxRows, kMaxSequences, memory));
  const int64_t sequence_blocks = DivideUp(kMaxContext + kMaxRows, kKvBlockTokens);
  const KvBlockLayout layout = MakeKvBlockLayout(graph.kv);
  LEM_ASSIGN_OR_RETURN(runner->kv_, KvBlockPool::Create(memory, layout.block_bytes, sequence_blocks * kMaxSequences));
  if (own.memory() != nullptr) LEM_TRY(runner->kv_->MapTo(*own.memory()));
  if (!runner->route_->placed().all_in_host_memory()) {
    runner->residency_ = std::make_unique<KvResidency>(*runner->kv_, graph.kv.num_layers, layout.layer_bytes,
                                                       runner->route_->placed().space_memory());
  }
  runner->blocks_.resize(kMaxSequences);
  for (std::vector<BlockId>& blocks : runner->blocks_) {
    for (int64_t i = 0; i < sequence_blocks; ++i) blocks.push_back(*runner->kv_->Allocate());
  }
  return runner;
}

Result<double> StepRunner::RunMs(const BenchStep& step) {
  std::vector<int32_t> tokens, output_rows;
  std::vector<SequenceRows> sequences;
  for (int64_t i = 0; i < step.rows; ++i) {
    tokens.push_back(static_cast<int32_t>((i * 7919 + 11) % model_->graph.vocab_size));
  }
  const int64_t num_sequences = step.phase == Phase::kDecode ? step.rows : 1;
  const int64_t rows = step.rows / num_sequences;
  for (int64_t s = 0; s < num_sequences; ++s) {
    sequences.push_back({s * rows, rows, step.first_position, blocks_[static_cast<size_t>(s)]});
    output_rows.push_back(static_cast<int32_t>((s + 1) * rows - 1));
  }
  const Bindings bindings{tokens, sequences, output_rows, kv_->base(), kv_->block_bytes(), {}};
  const auto begin = std::chrono::steady_clock::now();
  LEM_TRY(route_->executor(step.phase).Run(bindings, residency_.get()));
  return MillisecondsSince(begin);
}

}  // namespace lem
