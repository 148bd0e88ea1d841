// A segment compiled for OpenVINO: converted weights, and a graph for each number of rows and each size of context,
// made when it is first needed. Shared by the executables of a segment, so that nothing is compiled or converted twice.
#pragma once

#include <array>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "device/npu/dispatch_policy.h"
#include "device/npu/openvino/openvino_context.h"
#include "device/npu/openvino/openvino_graph.h"

namespace lem {

// Sizes of the past: the first, and each four times the one before.
inline constexpr int64_t kOpenVinoFirstContext = 256;
int64_t OpenVinoContextBucket(int64_t context);

class OpenVinoProgram {
 public:
  // A compiled graph. Used by one run at a time.
  class CompiledGraph {
   public:
    // Errors: of the runtime. Counted as a run of so many rows.
    Status Run(const openvino::Inference& tensors, int64_t rows);

   private:
    friend class OpenVinoProgram;
    OpenVinoContext* context_ = nullptr;
    OpenVinoGraphHandle handle_;
    int64_t bucket_rows_ = 0;
    uint64_t weight_bytes_ = 0;
  };

  // Converts weights; compiles nothing yet. Errors: Unimplemented, ResourceExhausted. The model must outlive the
  // program.
  static Result<std::shared_ptr<OpenVinoProgram>> Create(std::shared_ptr<OpenVinoContext> context,
                                                         const BoundGraph& model, const Segment& segment);
  ~OpenVinoProgram();

  // Compiles the graphs of up to so many rows for the first context and measures what each costs. Errors: Unimplemented
  // (what the runtime refuses, in its words), Internal.
  Status Prepare(int64_t max_rows);
  // Waits for the graph. `context`: positions of the past that it must hold.
  Result<CompiledGraph*> GraphFor(Rows part, int64_t bucket_rows, int64_t context);
  // Has it compiled in the background if it is not yet.
  void Prefetch(Rows part, int64_t bucket_rows, int64_t context);
  // By the measured costs of graphs. REQUIRES: Prepare.
  std::vector<NpuChunk> Cut(Rows part, int64_t rows) const;

  const BoundGraph& model() const { return model_; }
  const Segment& segment() const { return segment_; }
  const OpenVinoPart& part(Rows rows) const { return parts_[static_cast<size_t>(rows)]; }
  const std::vector<std::vector<double>>& rope_frequencies() const { return rope_frequencies_; }
  OpenVinoContext& context() const { return *context_; }

 private:
  using Key = std::tuple<Rows, int64_t, int64_t>;  // part, rows, context
  struct Slot {
    bool started = false, done = false;
    Status status;
    CompiledGraph graph;
  };

  OpenVinoProgram(std::shared_ptr<OpenVinoContext> context, const BoundGraph& model, const Segment& segment);
  Status TakeWeights();
  Slot& Request(const Key& key, bool urgent);
  void CompileSlot(const Key& key, Slot& slot);
  Status Compile(const Key& key, CompiledGraph& graph);
  openvino::Weight WeightOf(WeightSlot slot, bool is_matrix) const;
  Status Measure(Rows part, int64_t bucket_rows);

  const std::shared_ptr<OpenVinoContext> context_;
  const BoundGraph model_;
  const Segment segment_;
  const std::array<OpenVinoPart, 2> parts_;                     // by Rows
  std::vector<DType> weight_types_;                             // [slots]
  std::vector<std::shared_ptr<const OpenVinoWeight>> weights_;  // [slots] null where the segment has no product with it
  std::vector<std::vector<double>> rope_frequencies_;

  std::mutex prepare_mutex_;  // measuring uses graphs that nobody else uses yet
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable slot_done_;
  std::map<Key, Slot> slots_;
  std::array<std::vector<double>, 2> seconds_;  // by Rows, of the first buckets
};

}  // namespace lem
