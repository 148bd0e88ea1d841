// A segment compiled for the NPU: converted weights, and one static graph for each bucket that was asked for. Shared by
// the executables of a segment, so that no graph is compiled and no weight converted twice.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "device/device.h"
#include "device/npu/npu_weight_store.h"
#include "device/npu/npu_weights.h"

namespace lem {

// Thread-safe.
class NpuProgram {
 public:
  // Converts weights. Errors: Unimplemented, ResourceExhausted. `generation` and the model must outlive the program.
  static Result<std::shared_ptr<NpuProgram>> Compile(const NpuGeneration& generation, const BoundGraph& model,
                                                     const Segment& segment, const NpuCompileOptions& options,
                                                     NpuWeightStore<NpuWeight>& weights);

  // The graph of a bucket, laid out the first time it is asked for. `context`: the longest of the packed sequences.
  Result<const StaticGraph*> GraphFor(int64_t tokens, int64_t outputs, int64_t context);
  int64_t num_graphs() const;

  const NpuGeneration& generation() const { return generation_; }
  const BoundGraph& model() const { return model_; }
  const Segment& segment() const { return segment_; }
  const NpuWeight& weight(WeightSlot slot) const { return *weights_[static_cast<size_t>(slot)]; }
  const float* vector(WeightSlot slot) const { return vectors_[static_cast<size_t>(slot)]; }
  const std::vector<std::vector<double>>& rope_frequencies() const { return rope_frequencies_; }
  const std::vector<ValueId>& boundary() const { return boundary_; }
  bool has_attention() const { return has_attention_; }

 private:
  NpuProgram(const NpuGeneration& generation, const BoundGraph& model, const Segment& segment,
             const NpuCompileOptions& options)
      : generation_(generation), model_(model), segment_(segment), options_(options) {}
  Status TakeWeights(NpuWeightStore<NpuWeight>& store);

  const NpuGeneration& generation_;
  const BoundGraph model_;
  const Segment segment_;
  const NpuCompileOptions options_;
  std::vector<std::shared_ptr<const NpuWeight>> weights_;  // [slots] null where the segment has no product with it
  std::vector<DType> weight_types_;                        // [slots]
  std::vector<const float*> vectors_;                      // [slots] norms and biases
  std::vector<std::vector<double>> rope_frequencies_;
  std::vector<ValueId> boundary_;
  bool has_attention_ = false;
  mutable std::mutex mutex_;
  std::map<std::tuple<int64_t, int64_t, int64_t>, std::unique_ptr<StaticGraph>> graphs_;
};

}  // namespace lem
