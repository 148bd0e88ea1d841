#include "apps/lem-bench/interface_bench.h"

#include <algorithm>
#include <chrono>

#include "base/statistics.h"
#include "base/thread_pool.h"
#include "device/cpu/cpu_device.h"
#include "device/cpu/cpu_executable.h"
#include "executor/executor.h"
#include "models/model.h"

namespace lem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kPrefillTokens = 128;

double MicrosecondsOf(auto&& body) {
  const Clock::time_point begin = Clock::now();
  body();
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

}  // namespace

Result<std::vector<InterfaceBenchResult>> RunInterfaceBench(const std::filesystem::path& path, int num_threads,
                                                            int num_steps) {
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, LoadModel(path));
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<MemoryManager> memory, MemoryManager::Create());
  const KernelTable& kernels = BestKernelTable();
  ThreadPool pool(num_threads);
  DeviceRegistry devices;
  devices.Add(MakeCpuDevice(pool, kernels, memory.get()));
  const BoundGraph bound{&model->graph, model->bound_weights, &model->weights};
  LEM_ASSIGN_OR_RETURN(const auto placed, PlacedModel::Create(bound, PlacementOnCpu(), devices, *memory));
  LEM_ASSIGN_OR_RETURN(const auto executor, Executor::Create(*placed, {kPrefillTokens, 1, Phase::kPrefill}, *memory));
  LaneWeights lane_weights(*memory, num_threads);
  LEM_ASSIGN_OR_RETURN(CpuProgram program,
                       CompileCpuProgram(bound, {0, static_cast<int32_t>(model->graph.ops.size())}, &lane_weights));
  CpuExecutable direct(std::move(program), pool, kernels);
  LEM_ASSIGN_OR_RETURN(const auto kv, KvBlockPool::Create(*memory, MakeKvBlockLayout(model->graph.kv).block_bytes,
                                                          2 * kPrefillTokens / kKvBlockTokens));
  std::vector<BlockId> blocks;
  while (const auto block = kv->Allocate()) blocks.push_back(*block);

  std::vector<InterfaceBenchResult> results;
  for (const int64_t num_tokens : {int64_t{1}, kPrefillTokens}) {
    std::vector<int32_t> tokens;
    tokens.reserve(static_cast<size_t>(num_tokens));
    for (int64_t i = 0; i < num_tokens; ++i) {
      tokens.push_back(static_cast<int32_t>((i * 7919 + 11) % model->graph.vocab_size));
    }
    // A decode step after a short prompt, whose keys may hold anything: only the time matters.
    const SequenceRows rows[] = {{0, num_tokens, num_tokens == 1 ? kPrefillTokens : 0, blocks}};
    const int32_t output_rows[] = {static_cast<int32_t>(num_tokens - 1)};
    const ValueBinding values[] = {{model->graph.logits, executor->logits()}};
    const Bindings bindings{tokens, rows, output_rows, kv->base(), kv->block_bytes(), values};
    std::vector<double> direct_us, interface_us;
    Status status;
    for (int i = 0; i < num_steps; ++i) {
      direct_us.push_back(MicrosecondsOf([&] { direct.Run(bindings); }));
      interface_us.push_back(MicrosecondsOf([&] { status = executor->Run(bindings, nullptr); }));
      LEM_TRY(status);
    }
    results.push_back({num_tokens == 1 ? "decode" : "prefill", Median(direct_us), Median(interface_us)});
  }
  return results;
}

}  // namespace lem
