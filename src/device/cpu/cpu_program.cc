#include "device/cpu/cpu_program.h"

#include <algorithm>
#include <map>

#include "base/check.h"
#include "device/rope_frequencies.h"

namespace lem {
namespace {

// Compiles op by op, looking ahead for the patterns that fuse. Buffers are taken from a free list as values die.
class Compiler {
 public:
  Compiler(const BoundGraph& model, const Segment& segment, LaneWeights* lane_weights)
      : model_(model),
        graph_(*model.graph),
        segment_(segment),
        lane_weights_(lane_weights),
        buffer_of_(graph_.values.size(), kNone) {}

  Result<CpuProgram> Run() {
    program_.kv = MakeKvBlockLayout(graph_.kv);
    LEM_TRY(CompileRopes());
    if (lane_weights_ != nullptr) GetLanes();
    FindLastUses();
    for (ValueId value = 0; value < static_cast<ValueId>(graph_.values.size()); ++value) {
      if (IsBoundary(value)) BindBoundary(value);
    }
    for (idx_ = segment_.op_begin; idx_ < segment_.op_end;) {
      const int32_t first = idx_;
      LEM_TRY(CompileNext());
      for (int32_t done = first; done < idx_; ++done) ReleaseDeadInputs(done);
    }
    return std::move(program_);
  }

 private:
  const OpBody& body(int32_t op_idx) const { return graph_.ops[static_cast<size_t>(op_idx)].body; }
  const Value& value(ValueId id) const { return graph_.values[static_cast<size_t>(id)]; }
  template <typename T>
  const T* OpAt(int32_t op_idx) const {
    return op_idx < segment_.op_end ? std::get_if<T>(&body(op_idx)) : nullptr;
  }

  // --- buffers ---
  void FindLastUses() {
    last_use_.assign(graph_.values.size(), kNone);
    const SegmentBoundary boundary = FindBoundary(graph_, segment_);
    boundary_ = boundary.inputs;
    boundary_.insert(boundary_.end(), boundary.outputs.begin(), boundary.outputs.end());
    for (int32_t i = segment_.op_begin; i < segment_.op_end; ++i) {
      for (const ValueId in : OpInputs(body(i))) last_use_[static_cast<size_t>(in)] = i;
    }
  }
  bool IsBoundary(ValueId id) const { return std::ranges::find(boundary_, id) != boundary_.end(); }
  // True if nothing after op `op_idx` reads the value.
  bool DiesAt(ValueId id, int32_t op_idx) const {
    return !IsBoundary(id) && last_use_[static_cast<size_t>(id)] <= op_idx;
  }

  void BindBoundary(ValueId id) {
    buffer_of_[static_cast<size_t>(id)] = static_cast<BufferId>(program_.buffers.size());
    program_.buffers.push_back({value(id).rows, value(id).cols, id});
  }
  BufferId buffer(ValueId id) const {
    const BufferId b = buffer_of_[static_cast<size_t>(id)];
    LEM_CHECK(b != kNone) << "value " << value(id).name << " is read before it is written";
    return b;
  }
  // A buffer for a value about to be written: its boundary binding, a free one, or a new one.
  BufferId Assign(ValueId id) {
    BufferId& assigned = buffer_of_[static_cast<size_t>(id)];
    if (assigned != kNone) return assigned;
    const Value& v = value(id);
    // The free buffer that needs least growth; one more is cheaper than stretching a narrow one to a wide value.
    auto best = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      const CpuBuffer& candidate = program_.buffers[static_cast<size_t>(*it)];
      if (candidate.rows != v.rows || candidate.cols < v.cols) continue;
      if (best == free_.end() || candidate.cols < program_.buffers[static_cast<size_t>(*best)].cols) best = it;
    }
    if (best != free_.end()) {
      assigned = *best;
      free_.erase(best);
    } else {
      assigned = static_cast<BufferId>(program_.buffers.size());
      program_.buffers.push_back({v.rows, v.cols, kNone});
    }
    return assigned;
  }
  // `out` takes over the buffer of `in`, which dies here.
  void Inherit(ValueId out, ValueId in) {
    buffer_of_[static_cast<size_t>(out)] = buffer(in);
    inherited_.push_back(in);
  }
  void ReleaseDeadInputs(int32_t op_idx) {
    for (const ValueId in : OpInputs(body(op_idx))) {
      if (!DiesAt(in, op_idx) || std::ranges::find(inherited_, in) != inherited_.end()) continue;
      const BufferId b = buffer_of_[static_cast<size_t>(in)];
      if (b != kNone && std::ranges::find(free_, b) == free_.end()) free_.push_back(b);
    }
  }

  // --- weights ---
  // A table that is only looked up stays in the file, of which the rows that are asked for come to memory.
  void GetLanes() {
    std::vector<WeightSlot> slots;
    std::vector<WeightHandle> handles;
    for (int32_t i = segment_.op_begin; i < segment_.op_end; ++i) {
      if (const auto* linear = OpAt<LinearOp>(i)) {
        slots.push_back(linear->weight);
        handles.push_back(model_.weights[static_cast<size_t>(linear->weight)]);
      }
    }
    std::vector<std::shared_ptr<const LaneMatrix>> matrices = lane_weights_->Get(*model_.weight_table, handles);
    for (size_t i = 0; i < slots.size(); ++i) {
      if (matrices[i] == nullptr) continue;
      lanes_[slots[i]] = matrices[i]->data;
      program_.lane_weights.push_back(std::move(matrices[i]));
    }
  }
  Result<CpuWeight> Matrix(WeightSlot slot) {
    const WeightHandle handle = model_.weights[static_cast<size_t>(slot)];
    const WeightDesc& desc = model_.weight_table->desc(handle);
    if (!GetDTypeInfo(desc.dtype).is_weight || desc.layout != Layout::kGgufRows) {
      return Unimplemented("weight {} is {}, which the CPU cannot multiply by", desc.name,
                           GetDTypeInfo(desc.dtype).name);
    }
    CpuWeight weight{
        model_.weight_table->host_bytes(handle).data(), desc.layout, desc.row_bytes, desc.dtype, desc.rows, desc.cols};
    // Look-ups use the lanes, too, if products have them: one copy.
    if (const auto lanes = lanes_.find(slot); lanes != lanes_.end()) {
      weight.data = lanes->second;
      weight.layout = Layout::kLanes16;
    }
    return weight;
  }
  // A vector of float32. The reader guarantees 4-byte alignment of F32 tensors by the file's own alignment.
  Result<const float*> Vector(WeightSlot slot) const {
    const WeightHandle handle = model_.weights[static_cast<size_t>(slot)];
    const WeightDesc& desc = model_.weight_table->desc(handle);
    if (desc.dtype != DType::kF32) {
      return Unimplemented("weight {} is {}; norms and biases must be F32", desc.name, GetDTypeInfo(desc.dtype).name);
    }
    return reinterpret_cast<const float*>(model_.weight_table->host_bytes(handle).data());
  }

  Status CompileRopes() {
    LEM_ASSIGN_OR_RETURN(const std::vector<std::vector<double>> frequencies, RopeFrequencies(model_));
    for (size_t r = 0; r < frequencies.size(); ++r) {
      const RopeSpec& spec = graph_.ropes[r];
      program_.ropes.push_back({spec.rotary_dim, spec.interleaved, frequencies[r]});
    }
    return OkStatus();
  }

  // --- ops ---
  // Each compiles the op at idx_, and those after it that fuse with it, and moves idx_ past them.
  Status CompileNext() {
    return std::visit([this](const auto& op) { return CompileOp(op); }, body(idx_));
  }

  Status CompileOp(const EmbedOp& op) {
    LEM_ASSIGN_OR_RETURN(const CpuWeight table, Matrix(op.table));
    program_.steps.emplace_back(CpuEmbed{table, op.scale, Assign(op.out)});
    ++idx_;
    return OkStatus();
  }

  // Remembered; the attention that reads the value rotates it.
  Status CompileOp(const RopeOp& op) {
    if (IsBoundary(op.out) || !DiesAt(op.in, idx_)) {
      return Unimplemented("the CPU cannot cut a graph between a rotation and its attention (op {})", idx_);
    }
    rope_of_[op.out] = &op;
    Inherit(op.out, op.in);
    ++idx_;
    return OkStatus();
  }

  Status CompileOp(const AddOp& op) {
    const BufferId a = buffer(op.a), b = buffer(op.b);
    program_.steps.emplace_back(CpuAdd{a, b, Assign(op.out), value(op.out).rows, value(op.out).cols});
    ++idx_;
    return OkStatus();
  }

  Status CompileOp(const SelectOutputsOp& op) {
    program_.steps.emplace_back(CpuSelectOutputs{buffer(op.in), Assign(op.out), value(op.in).cols});
    ++idx_;
    return OkStatus();
  }

  Status CompileOp(const SoftcapOp& op) {
    const BufferId in = buffer(op.in);
    program_.steps.emplace_back(CpuSoftcap{in, Assign(op.out), value(op.in).rows, value(op.in).cols, op.cap});
    ++idx_;
    return OkStatus();
  }

  Status CompileOp(const ConcatOp& op) {
    CpuConcat step{{}, kNone, value(op.out).rows, value(op.out).cols};
    for (const ValueId part : op.parts) step.parts.push_back({buffer(part), value(part).cols});
    step.out = Assign(op.out);
    program_.steps.emplace_back(std::move(step));
    ++idx_;
    return OkStatus();
  }

  Status CompileOp(const GluOp&) {
    return Unimplemented("the CPU runs a GLU only behind its gate and up products (op {})", idx_);
  }

  Status CompileOp(const RmsNormOp& op) {
    LEM_ASSIGN_OR_RETURN(const float* weight, Vector(op.weight));
    const BufferId in = buffer(op.in);
    if (DiesAt(op.in, idx_) && !IsBoundary(op.out)) Inherit(op.out, op.in);
    program_.steps.emplace_back(
        CpuRmsNorm{in, Assign(op.out), value(op.in).rows, value(op.in).cols, op.group, op.eps, weight});
    ++idx_;
    return OkStatus();
  }

  Result<CpuLinearPart> Part(const LinearOp& op, BufferId out) {
    LEM_ASSIGN_OR_RETURN(const CpuWeight weight, Matrix(op.weight));
    const float* bias = nullptr;
    if (op.bias != kNone) {
      LEM_ASSIGN_OR_RETURN(bias, Vector(op.bias));
    }
    return CpuLinearPart{weight, bias, out};
  }

  // Consecutive linears of one input; then a GLU of the two, or an add of the one to a residual.
  Status CompileOp(const LinearOp& first) {
    CpuLinear step{buffer(first.in), value(first.in).rows, {}, {}, kNone};
    program_.max_k = std::max(program_.max_k, value(first.in).cols);
    std::vector<const LinearOp*> group;
    for (int32_t i = idx_; const auto* op = OpAt<LinearOp>(i); ++i) {
      if (op->in != first.in) break;
      group.push_back(op);
    }
    const int32_t after = idx_ + static_cast<int32_t>(group.size());
    const auto* glu = OpAt<GluOp>(after);
    const auto* add = OpAt<AddOp>(after);
    if (group.size() == 2 && glu != nullptr && glu->gate == group[0]->out && glu->up == group[1]->out &&
        DiesAt(glu->gate, after) && DiesAt(glu->up, after)) {
      step.glu = glu->activation;
      // The GLU overwrites its gate, so the gate is computed where the result belongs.
      LEM_ASSIGN_OR_RETURN(CpuLinearPart gate, Part(*group[0], Assign(glu->out)));
      LEM_ASSIGN_OR_RETURN(CpuLinearPart up, Part(*group[1], Assign(glu->up)));
      step.parts = {gate, up};
      idx_ = after + 1;
    } else if (group.size() == 1 && add != nullptr && (add->a == first.out || add->b == first.out) &&
               add->a != add->b && DiesAt(first.out, after)) {
      step.residual = buffer(add->a == first.out ? add->b : add->a);
      LEM_ASSIGN_OR_RETURN(CpuLinearPart part, Part(first, Assign(add->out)));
      step.parts = {part};
      idx_ = after + 1;
    } else {
      for (const LinearOp* op : group) {
        LEM_ASSIGN_OR_RETURN(CpuLinearPart part, Part(*op, Assign(op->out)));
        step.parts.push_back(part);
      }
      idx_ = after;
    }
    program_.steps.emplace_back(std::move(step));
    return OkStatus();
  }

  Status CompileOp(const PagedAttentionOp& op) {
    const KvSpec& kv = graph_.kv;
    if (kv.head_dim % 16 != 0) {
      return Unimplemented("head_dim is {}; the CPU's attention needs a multiple of 16", kv.head_dim);
    }
    if (op.num_heads / kv.num_kv_heads > kAttentionMaxStates) {
      return Unimplemented("{} query heads share a key head; at most {} can", op.num_heads / kv.num_kv_heads,
                           kAttentionMaxStates);
    }
    const auto q_rope = rope_of_.find(op.q);
    const auto k_rope = rope_of_.find(op.k);
    CpuAttention step{buffer(op.q), buffer(op.k),    buffer(op.v), kNone,     {},       op.layer,
                      op.num_heads, kv.num_kv_heads, kv.head_dim,  op.window, op.scale, op.softcap};
    if ((q_rope == rope_of_.end()) != (k_rope == rope_of_.end()) ||
        (q_rope != rope_of_.end() && q_rope->second->rope != k_rope->second->rope)) {
      return Unimplemented("queries and keys of layer {} are rotated differently", op.layer);
    }
    if (q_rope != rope_of_.end()) step.rope = q_rope->second->rope;
    step.out = Assign(op.out);
    program_.steps.emplace_back(step);
    ++idx_;
    return OkStatus();
  }

  const BoundGraph& model_;
  const Graph& graph_;
  const Segment segment_;
  LaneWeights* const lane_weights_;
  std::map<WeightSlot, const std::byte*> lanes_;  // of the weights that have them
  CpuProgram program_;
  int32_t idx_ = 0;
  std::vector<BufferId> buffer_of_;  // [values]
  std::vector<int32_t> last_use_;    // [values] op index; kNone = never read in the segment
  std::vector<ValueId> boundary_;
  std::vector<BufferId> free_;
  std::vector<ValueId> inherited_;  // values whose buffer lives on in another value
  std::map<ValueId, const RopeOp*> rope_of_;
};

}  // namespace

Result<CpuProgram> CompileCpuProgram(const BoundGraph& model, const Segment& segment, LaneWeights* lane_weights) {
  return Compiler(model, segment, lane_weights).Run();
}

}  // namespace lem
