#include "apps/lem-bench/predict_bench.h"

#include <algorithm>
#include <chrono>

#include "base/file.h"
#include "base/integer_math.h"
#include "base/statistics.h"
#include "base/thread_pool.h"
#include "device/machine.h"
#include "executor/route.h"
#include "memory/kv_block_pool.h"
#include "runtime/profile/planner.h"

namespace lem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMaxRows = 256, kMaxSequences = 16, kMaxContext = 2048;

struct Shape {
  Phase phase;
  int64_t rows, first_position;
};
// None of them is what profiles measure.
constexpr Shape kShapes[] = {
    {Phase::kDecode, 1, 100},  {Phase::kDecode, 1, 1200},   {Phase::kDecode, 3, 300},  {Phase::kDecode, 6, 50},
    {Phase::kDecode, 12, 200}, {Phase::kPrefill, 24, 0},    {Phase::kPrefill, 100, 0}, {Phase::kPrefill, 100, 700},
    {Phase::kPrefill, 200, 0}, {Phase::kPrefill, 40, 1500},
};

struct Step {
  std::vector<int32_t> tokens, output_rows;
  std::vector<SequenceRows> sequences;
  std::vector<double> times_ms;
};

Step MakeStep(const Shape& shape, const std::vector<std::vector<BlockId>>& blocks, int64_t vocab) {
  Step step;
  for (int64_t i = 0; i < shape.rows; ++i) step.tokens.push_back(static_cast<int32_t>((i * 7919 + 11) % vocab));
  const int64_t sequences = shape.phase == Phase::kDecode ? shape.rows : 1;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t rows = shape.rows / sequences;
    step.sequences.push_back({s * rows, rows, shape.first_position, blocks[static_cast<size_t>(s)]});
    step.output_rows.push_back(static_cast<int32_t>((s + 1) * rows - 1));
  }
  return step;
}

double PredictStep(const CostModel& costs, int device, const ModelWork& work, const StepShape& shape) {
  // Of each sequence, the last row is asked for.
  return costs.LaunchMs(device, shape.phase) + costs.FinishMs(device, shape.phase, 0) +
         PredictPartsMs(costs, device, work, work.AllParts(), shape, shape.sequences);
}

}  // namespace

Result<std::vector<PredictBenchResult>> RunPredictBench(const std::filesystem::path& path, const std::string& device,
                                                        int num_threads, int num_repeats) {
  LEM_ASSIGN_OR_RETURN(const MeasuredMachine machine, LoadMachine(ProfilesFolder(), DeviceClock::kWall));
  LEM_ASSIGN_OR_RETURN(const CostModel costs, machine.MakeCostModel());
  const int idx = costs.machine().Find(device);
  if (idx < 0) return NotFound("the profile has no device '{}'; measure it with `lem profile`", device);
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, LoadModel(path));
  LEM_ASSIGN_OR_RETURN(const ModelWork work, WorkOfModel(*model));
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<MemoryManager> memory, MemoryManager::Create());
  ThreadPool pool(num_threads);
  DeviceRegistry devices;
  const DeviceHost host{pool, BestKernelTable(), *memory, CacheDir()};
  LEM_ASSIGN_OR_RETURN(std::unique_ptr<Device> opened, OpenDevice(device, host));
  Device& own = *opened;
  devices.Add(std::move(opened));
  Placement placement;
  placement.clauses = {{.device_id = device}};
  const BoundGraph bound{&model->graph, model->bound_weights, &model->weights};
  LEM_ASSIGN_OR_RETURN(const auto route, Route::Create(bound, placement, devices, std::make_shared<PlacedWeights>(*memory)));
  LEM_TRY(route->Compile(kMaxRows, kMaxSequences, *memory));
  const int64_t sequence_blocks = DivideUp(kMaxContext + kMaxRows, kKvBlockTokens);
  LEM_ASSIGN_OR_RETURN(const auto kv, KvBlockPool::Create(*memory, MakeKvBlockLayout(model->graph.kv).block_bytes,
                                                          sequence_blocks * kMaxSequences));
  if (own.memory() != nullptr) LEM_TRY(kv->MapTo(*own.memory()));
  std::unique_ptr<KvResidency> residency;
  if (!route->placed().all_in_host_memory()) {
    residency =
        std::make_unique<KvResidency>(*kv, model->graph.kv.num_layers, MakeKvBlockLayout(model->graph.kv).layer_bytes,
                                      route->placed().space_memory());
  }
  std::vector<std::vector<BlockId>> blocks(kMaxSequences);
  for (std::vector<BlockId>& own_blocks : blocks) {
    for (int64_t i = 0; i < sequence_blocks; ++i) own_blocks.push_back(*kv->Allocate());
  }
  std::vector<Step> steps;
  for (const Shape& shape : kShapes) steps.push_back(MakeStep(shape, blocks, model->graph.vocab_size));
  for (int repeat = -1; repeat < num_repeats; ++repeat) {  // the first warms up
    for (size_t i = 0; i < steps.size(); ++i) {
      const double reference_before = ReferenceMs(pool);
      const Bindings bindings{steps[i].tokens, steps[i].sequences, steps[i].output_rows,
                              kv->base(),      kv->block_bytes(),  {}};
      const Clock::time_point begin = Clock::now();
      LEM_TRY(route->executor(kShapes[i].phase).Run(bindings, residency.get()));
      const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
      const double reference = (reference_before + ReferenceMs(pool)) / 2;
      if (repeat >= 0) steps[i].times_ms.push_back(ms * machine.reference_ms / reference);
    }
  }
  std::vector<PredictBenchResult> results;
  for (size_t i = 0; i < steps.size(); ++i) {
    const double sequences = static_cast<double>(steps[i].sequences.size());
    const double rows = static_cast<double>(kShapes[i].rows);
    const StepShape shape{kShapes[i].phase, rows, sequences,
                          static_cast<double>(kShapes[i].first_position) + rows / sequences / 2};
    results.push_back({shape, PredictStep(costs, idx, work, shape), Median(steps[i].times_ms)});
  }
  return results;
}

}  // namespace lem
