// Single steps of a model on one device, run as the engine would run them.
//
// Not thread-safe.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "device/machine.h"
#include "executor/route.h"
#include "memory/kv_block_pool.h"
#include "models/model.h"
#include "scheduler/cost/cost_model.h"

namespace lem {

// Rows of a prompt of one sequence, or one row of each of so many sequences, behind so many tokens each.
struct BenchStep {
  Phase phase = Phase::kDecode;
  int64_t rows = 1, first_position = 0;
  // As the cost model sees it.
  StepShape shape() const;
};

class StepRunner {
 public:
  // Errors: of loading, opening the device, compiling.
  static Result<std::unique_ptr<StepRunner>> Create(const std::filesystem::path& model, const std::string& device,
                                                    int num_threads);

  // Wall milliseconds of one step. REQUIRES: no more than kMaxRows rows, kMaxSequences sequences, kMaxContext tokens.
  static constexpr int64_t kMaxRows = 256, kMaxSequences = 16, kMaxContext = 2048;
  Result<double> RunMs(const BenchStep& step);

  const Model& model() const { return *model_; }
  ThreadPool& pool() { return pool_; }

 private:
  explicit StepRunner(int num_threads) : pool_(num_threads) {}

  ThreadPool pool_;
  std::unique_ptr<MemoryManager> memory_;
  DeviceRegistry devices_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Route> route_;
  std::unique_ptr<KvBlockPool> kv_;
  std::unique_ptr<KvResidency> residency_;
  std::vector<std::vector<BlockId>> blocks_;  // of each sequence
};

}  // namespace lem
