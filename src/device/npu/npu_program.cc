#include "device/npu/npu_program.h"

#include "device/rope_frequencies.h"

namespace lem {

Result<std::shared_ptr<NpuProgram>> NpuProgram::Compile(const NpuGeneration& generation, const BoundGraph& model,
                                                        const Segment& segment, const NpuCompileOptions& options,
                                                        NpuWeightStore<NpuWeight>& weights) {
  std::shared_ptr<NpuProgram> program(new NpuProgram(generation, model, segment, options));
  const SegmentBoundary boundary = FindBoundary(*model.graph, segment);
  program->boundary_ = boundary.inputs;
  program->boundary_.insert(program->boundary_.end(), boundary.outputs.begin(), boundary.outputs.end());
  LEM_ASSIGN_OR_RETURN(program->rope_frequencies_, RopeFrequencies(model));
  LEM_TRY(program->TakeWeights(weights));
  return program;
}

Status NpuProgram::TakeWeights(NpuWeightStore<NpuWeight>& store) {
  const Graph& graph = *model_.graph;
  weights_.resize(graph.weights.size());
  for (const WeightHandle handle : model_.weights) weight_types_.push_back(model_.weight_table->desc(handle).dtype);
  vectors_.resize(graph.weights.size(), nullptr);
  const auto take_vector = [&](WeightSlot slot) -> Status {
    const WeightHandle handle = model_.weights[static_cast<size_t>(slot)];
    const WeightDesc& desc = model_.weight_table->desc(handle);
    if (desc.dtype != DType::kF32) {
      return Unimplemented("weight {} is {}; norms and biases must be F32", desc.name, GetDTypeInfo(desc.dtype).name);
    }
    vectors_[static_cast<size_t>(slot)] =
        reinterpret_cast<const float*>(model_.weight_table->host_bytes(handle).data());
    return OkStatus();
  };
  for (int32_t i = segment_.op_begin; i < segment_.op_end; ++i) {
    const Op& op = graph.ops[static_cast<size_t>(i)];
    if (const auto* norm = std::get_if<RmsNormOp>(&op.body)) LEM_TRY(take_vector(norm->weight));
    has_attention_ |= std::holds_alternative<PagedAttentionOp>(op.body);
    const auto* linear = std::get_if<LinearOp>(&op.body);
    if (linear == nullptr) continue;
    if (linear->bias != kNone) LEM_TRY(take_vector(linear->bias));
    const WeightHandle handle = model_.weights[static_cast<size_t>(linear->weight)];
    LEM_ASSIGN_OR_RETURN(
        weights_[static_cast<size_t>(linear->weight)],
        store.Get(model_.weight_table->desc(handle), model_.weight_table->host_bytes(handle),
                  PrecisionOf(options_, weight_types_[static_cast<size_t>(linear->weight)]), options_.scale_group));
  }
  return OkStatus();
}

Result<const StaticGraph*> NpuProgram::GraphFor(int64_t tokens, int64_t outputs, int64_t context) {
  const std::tuple key{tokens, outputs == 0 ? 0 : NpuTokenBucket(outputs),
                       has_attention_ ? NpuContextBucket(context) : 0};
  const std::lock_guard lock(mutex_);
  std::unique_ptr<StaticGraph>& graph = graphs_[key];
  if (graph == nullptr) {
    LEM_ASSIGN_OR_RETURN(StaticGraph planned,
                         PlanStaticGraph(generation_, *model_.graph, segment_, tokens, std::get<1>(key),
                                         {.compile = options_, .weight_types = weight_types_}));
    graph = std::make_unique<StaticGraph>(std::move(planned));
  }
  return graph.get();
}

int64_t NpuProgram::num_graphs() const {
  const std::lock_guard lock(mutex_);
  int64_t count = 0;
  for (const auto& [key, graph] : graphs_) count += graph != nullptr;
  return count;
}

}  // namespace lem
