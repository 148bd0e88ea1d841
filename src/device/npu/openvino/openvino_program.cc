#include "device/npu/openvino/openvino_program.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/aligned.h"
#include "base/log.h"
#include "device/rope_frequencies.h"

namespace lem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kContextGrowth = 4;

double SecondsSince(Clock::time_point began) { return std::chrono::duration<double>(Clock::now() - began).count(); }

// Memory for a run that only the clock looks at.
class ScratchTensors {
 public:
  ScratchTensors(const Graph& model, const OpenVinoPart& part, int64_t rows, int64_t context) {
    const auto add = [&](std::vector<float*>& list, int64_t count) {
      list.push_back(memory_.emplace_back(static_cast<size_t>(count)).data());
    };
    const auto cols = [&](ValueId id) { return model.values[static_cast<size_t>(id)].cols; };
    for (const ValueId id : part.inputs) add(inputs_, rows * cols(id));
    for (const ValueId id : part.outputs) add(outputs_, rows * cols(id));
    for (const int32_t rope : part.ropes) add(ropes_, rows * model.ropes[static_cast<size_t>(rope)].rotary_dim);
    for (size_t i = 0; i < part.windows.size(); ++i) add(masks_, rows * (context + rows));
    const int64_t past_halves = model.kv.num_kv_heads * model.kv.head_dim * context;
    past_.resize(part.attentions.empty() ? 0 : static_cast<size_t>(past_halves));
    past_lists_.assign(part.attentions.size(), past_.data());
    tensors_ = {inputs_.data(), outputs_.data(), ropes_.data(), masks_.data(), past_lists_.data(), past_lists_.data()};
  }
  const openvino::Inference& tensors() const { return tensors_; }

 private:
  std::vector<AlignedVector<float>> memory_;
  std::vector<float*> inputs_, outputs_, ropes_, masks_;
  AlignedVector<uint16_t> past_;
  std::vector<uint16_t*> past_lists_;
  openvino::Inference tensors_{};
};

}  // namespace

int64_t OpenVinoContextBucket(int64_t context) {
  int64_t bucket = kOpenVinoFirstContext;
  while (bucket < context) bucket *= kContextGrowth;
  return bucket;
}

Status OpenVinoProgram::CompiledGraph::Run(const openvino::Inference& tensors, int64_t rows) {
  if (Status health = context_->health(); !health.ok()) return health;
  openvino::Error error{};
  const auto began = Clock::now();
  const openvino::Code code = context_->runtime().infer(handle_.get(), &tensors, &error);
  if (code != openvino::Code::kOk) {
    Status status = OpenVinoStatus(code, error);
    if (code == openvino::Code::kDeviceLost) context_->SetLost(status);
    return status;
  }
  context_->CountRun(SecondsSince(began), rows, bucket_rows_);
  return OkStatus();
}

OpenVinoProgram::OpenVinoProgram(std::shared_ptr<OpenVinoContext> context, const BoundGraph& model,
                                 const Segment& segment)
    : context_(std::move(context)),
      model_(model),
      segment_(segment),
      parts_{MakeOpenVinoPart(*model.graph, segment, Rows::kTokens),
             MakeOpenVinoPart(*model.graph, segment, Rows::kOutputs)} {}

Result<std::shared_ptr<OpenVinoProgram>> OpenVinoProgram::Create(std::shared_ptr<OpenVinoContext> context,
                                                                 const BoundGraph& model, const Segment& segment) {
  std::shared_ptr<OpenVinoProgram> program(new OpenVinoProgram(std::move(context), model, segment));
  LEM_ASSIGN_OR_RETURN(program->rope_frequencies_, RopeFrequencies(model));
  LEM_TRY(program->TakeWeights());
  return program;
}

OpenVinoProgram::~OpenVinoProgram() {
  context_->Cancel(this);
  for (const auto& [key, slot] : slots_) {
    if (slot.graph.handle_ != nullptr) context_->CountReleased(slot.graph.weight_bytes_);
  }
}

Status OpenVinoProgram::TakeWeights() {
  const Graph& graph = *model_.graph;
  const NpuCompileOptions& compile = context_->options().compile;
  weights_.resize(graph.weights.size());
  for (const WeightHandle handle : model_.weights) weight_types_.push_back(model_.weight_table->desc(handle).dtype);
  const auto check_vector = [&](WeightSlot slot) -> Status {
    const WeightDesc& desc = model_.weight_table->desc(model_.weights[static_cast<size_t>(slot)]);
    if (desc.dtype == DType::kF32) return OkStatus();
    return Unimplemented("weight {} is {}; norms and biases must be F32", desc.name, GetDTypeInfo(desc.dtype).name);
  };
  for (const OpenVinoPart& part : parts_) {
    for (const int32_t i : part.ops) {
      const OpBody& body = graph.ops[static_cast<size_t>(i)].body;
      if (const auto* norm = std::get_if<RmsNormOp>(&body)) LEM_TRY(check_vector(norm->weight));
      const auto* linear = std::get_if<LinearOp>(&body);
      if (linear == nullptr) continue;
      if (linear->bias != kNone) LEM_TRY(check_vector(linear->bias));
      const auto slot = static_cast<size_t>(linear->weight);
      const WeightHandle handle = model_.weights[slot];
      LEM_ASSIGN_OR_RETURN(
          weights_[slot],
          context_->weights().Get(model_.weight_table->desc(handle), model_.weight_table->host_bytes(handle),
                                  PrecisionOf(compile, weight_types_[slot]), compile.scale_group));
    }
  }
  return OkStatus();
}

openvino::Weight OpenVinoProgram::WeightOf(WeightSlot slot, bool is_matrix) const {
  const WeightHandle handle = model_.weights[static_cast<size_t>(slot)];
  const WeightDesc& desc = model_.weight_table->desc(handle);
  openvino::Weight weight{};
  if (is_matrix) {
    weight = weights_[static_cast<size_t>(slot)]->view;
  } else {
    weight.type = openvino::WeightType::kF32;
    weight.rows = desc.rows;
    weight.cols = desc.cols;
    weight.values = model_.weight_table->host_bytes(handle).data();
  }
  weight.name = desc.name.c_str();
  return weight;
}

Status OpenVinoProgram::Prepare(int64_t max_rows) {
  const std::lock_guard lock(prepare_mutex_);
  for (const Rows rows : {Rows::kTokens, Rows::kOutputs}) {
    if (part(rows).ops.empty()) continue;
    for (const int64_t bucket : context_->row_buckets()) {
      LEM_TRY(Measure(rows, bucket));
      if (bucket >= max_rows) break;
    }
  }
  return OkStatus();
}

// Once for each bucket, so that steps are cut alike as long as the program lives.
Status OpenVinoProgram::Measure(Rows rows, int64_t bucket_rows) {
  std::vector<double>& seconds = seconds_[static_cast<size_t>(rows)];
  const auto idx =
      static_cast<size_t>(std::ranges::find(context_->row_buckets(), bucket_rows) - context_->row_buckets().begin());
  {
    const std::lock_guard lock(mutex_);
    if (idx < seconds.size()) return OkStatus();
  }
  LEM_ASSIGN_OR_RETURN(CompiledGraph * graph, GraphFor(rows, bucket_rows, 1));
  const int64_t context = part(rows).attentions.empty() ? 0 : kOpenVinoFirstContext;
  ScratchTensors scratch(*model_.graph, part(rows), bucket_rows, context);
  // The first run also allocates.
  double best = 0;
  for (int i = 0; i < 3; ++i) {
    openvino::Error error{};
    const auto began = Clock::now();
    const openvino::Code code = context_->runtime().infer(graph->handle_.get(), &scratch.tensors(), &error);
    if (code != openvino::Code::kOk) return OpenVinoStatus(code, error);
    const double taken = SecondsSince(began);
    if (i == 0 || taken < best) best = taken;
  }
  const std::lock_guard lock(mutex_);
  seconds.push_back(best);
  return OkStatus();
}

std::vector<NpuChunk> OpenVinoProgram::Cut(Rows rows, int64_t count) const {
  const std::lock_guard lock(mutex_);
  const std::vector<double>& seconds = seconds_[static_cast<size_t>(rows)];
  // A graph of the driver's work alone costs nothing in any length.
  if (seconds.empty()) return {{count, count}};
  return CutIntoBuckets(count, {std::span(context_->row_buckets()).first(seconds.size()), seconds, 0});
}

Result<OpenVinoProgram::CompiledGraph*> OpenVinoProgram::GraphFor(Rows rows, int64_t bucket_rows, int64_t context) {
  const Key key{rows, bucket_rows, part(rows).attentions.empty() ? 0 : OpenVinoContextBucket(context)};
  Slot& slot = Request(key, true);
  std::unique_lock lock(mutex_);
  slot_done_.wait(lock, [&] { return slot.done; });
  if (!slot.status.ok()) return slot.status;
  return &slot.graph;
}

void OpenVinoProgram::Prefetch(Rows rows, int64_t bucket_rows, int64_t context) {
  if (!part(rows).attentions.empty()) Request({rows, bucket_rows, OpenVinoContextBucket(context)}, false);
}

OpenVinoProgram::Slot& OpenVinoProgram::Request(const Key& key, bool urgent) {
  const std::lock_guard lock(mutex_);
  const auto [found, added] = slots_.try_emplace(key);
  Slot& slot = found->second;  // map entries do not move
  if (added || (urgent && !slot.started)) {
    context_->Enqueue(this, &slot, urgent, [this, key, &slot] { CompileSlot(key, slot); });
  }
  return slot;
}

void OpenVinoProgram::CompileSlot(const Key& key, Slot& slot) {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(slot.started, true)) return;
  }
  CompiledGraph graph;
  Status status = Compile(key, graph);
  {
    const std::lock_guard lock(mutex_);
    slot.graph = std::move(graph);
    slot.status = std::move(status);
    slot.done = true;
  }
  slot_done_.notify_all();
}

Status OpenVinoProgram::Compile(const Key& key, CompiledGraph& graph) {
  const auto [rows, bucket_rows, context] = key;
  const int64_t tokens = rows == Rows::kTokens ? bucket_rows : 0, outputs = rows == Rows::kTokens ? 0 : bucket_rows;
  const StaticGraph layout = LayOutStaticGraph(*model_.graph, segment_, tokens, outputs,
                                               {.compile = context_->options().compile, .weight_types = weight_types_});
  const OpenVinoWeightOf weight_of = [this](WeightSlot slot, bool is_matrix) { return WeightOf(slot, is_matrix); };
  const OpenVinoDescription description(layout, part(rows), context, weight_of);
  for (const int32_t op : part(rows).ops) {
    const auto* linear = std::get_if<LinearOp>(&model_.graph->ops[static_cast<size_t>(op)].body);
    if (linear != nullptr) graph.weight_bytes_ += weights_[static_cast<size_t>(linear->weight)]->bytes();
  }
  openvino::GraphHandle* handle = nullptr;
  openvino::CompiledDescription compiled{};
  openvino::Error error{};
  const openvino::Code code =
      context_->runtime().compile(context_->device(), &description.view(), &handle, &compiled, &error);
  if (code != openvino::Code::kOk) return OpenVinoStatus(code, error);
  graph.context_ = context_.get();
  graph.handle_ = OpenVinoGraphHandle(handle, {&context_->runtime()});
  graph.bucket_rows_ = bucket_rows;
  context_->CountCompiled(compiled.loaded_from_cache != 0, compiled.seconds, graph.weight_bytes_);
  LogDebug("OpenVINO: graph {} {} in {:.2f} s", description.view().name,
           compiled.loaded_from_cache != 0 ? "loaded from the cache" : "compiled", compiled.seconds);
  return OkStatus();
}

}  // namespace lem
