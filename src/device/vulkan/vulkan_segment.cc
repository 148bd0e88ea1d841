#include "device/vulkan/vulkan_segment.h"

#include <algorithm>
#include <map>

#include "base/check.h"
#include "device/first_fit.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

uint32_t U32(int64_t value) { return static_cast<uint32_t>(value); }

}  // namespace

Result<VulkanSegment> VulkanSegment::Compile(const BoundGraph& model, const Segment& segment,
                                             const VulkanSegmentOptions& options, VulkanAddressMap& addresses) {
  VulkanSegment compiled(model, segment, options);
  LEM_TRY(compiled.CheckOps());
  LEM_TRY(compiled.ResolveWeights(addresses));
  const SegmentBoundary boundary = FindBoundary(*model.graph, segment);
  compiled.boundary_ = boundary.inputs;
  compiled.boundary_.insert(compiled.boundary_.end(), boundary.outputs.begin(), boundary.outputs.end());
  compiled.FuseOps();
  compiled.PlaceValues();
  return compiled;
}

bool VulkanSegment::IsBoundary(ValueId id) const { return std::ranges::find(boundary_, id) != boundary_.end(); }

size_t VulkanSegment::BytesOf(ValueId id) const {
  const int64_t rows = value(id).rows == Rows::kTokens ? options_.bucket.max_tokens : options_.bucket.max_outputs;
  return static_cast<size_t>(rows * value(id).cols) * sizeof(float);
}

Status VulkanSegment::CheckOps() {
  const KvSpec& kv = model_.graph->kv;
  for (int32_t i = segment_.op_begin; i < segment_.op_end; ++i) {
    const OpBody& body = op(i).body;
    for (const WeightSlot slot : OpWeights(body)) {
      const WeightDesc& desc = model_.weight_table->desc(model_.weights[static_cast<size_t>(slot)]);
      const bool is_matrix = desc.rows > 1 || std::holds_alternative<EmbedOp>(body);
      if (desc.layout != Layout::kGgufRows || !GetDTypeInfo(desc.dtype).is_weight ||
          (!is_matrix && desc.dtype != DType::kF32)) {
        return Unimplemented("weight {} is {}; a Vulkan device takes matrices of GGUF's types and F32 vectors",
                             desc.name, GetDTypeInfo(desc.dtype).name);
      }
    }
    if (std::holds_alternative<RopeOp>(body)) needs_sequences_ = true;
    if (std::holds_alternative<PagedAttentionOp>(body)) {
      needs_sequences_ = true;
      if (kv.head_dim % 16 != 0 || kv.head_dim > kMaxHeadDim) {
        return Unimplemented("head_dim is {}; a Vulkan device takes multiples of 16 up to {}", kv.head_dim,
                             kMaxHeadDim);
      }
    }
  }
  return OkStatus();
}

Status VulkanSegment::ResolveWeights(VulkanAddressMap& addresses) {
  weights_.assign(model_.graph->weights.size(), 0);
  for (int32_t i = segment_.op_begin; i < segment_.op_end; ++i) {
    for (const WeightSlot slot : OpWeights(op(i).body)) {
      const std::byte* data = model_.weight_table->device_data(model_.weights[static_cast<size_t>(slot)]);
      if (data == nullptr) return NotFound("weight {} is not mapped", model_.graph->weights[slot].name);
      LEM_ASSIGN_OR_RETURN(weights_[static_cast<size_t>(slot)], addresses.Resolve(data));
    }
  }
  return OkStatus();
}

// A residual add goes into the product before it; the rotation of keys into their store.
void VulkanSegment::FuseOps() {
  fusions_.resize(static_cast<size_t>(segment_.op_end - segment_.op_begin));
  const auto fusion = [this](int32_t idx) -> Fusion& { return fusions_[static_cast<size_t>(idx - segment_.op_begin)]; };
  std::map<ValueId, int> num_readers;
  std::map<ValueId, int32_t> producer;
  for (int32_t i = segment_.op_begin; i < segment_.op_end; ++i) {
    for (const ValueId in : OpInputs(op(i).body)) ++num_readers[in];
    producer[OpOutput(op(i).body)] = i;
  }
  const auto only_read_once = [&](ValueId id) { return !IsBoundary(id) && num_readers[id] == 1; };
  for (int32_t i = segment_.op_begin; i < segment_.op_end; ++i) {
    fusion(i).out = OpOutput(op(i).body);
    const auto* add = std::get_if<AddOp>(&op(i).body);
    if (add != nullptr && i > segment_.op_begin && add->a != add->b) {
      const auto* linear = std::get_if<LinearOp>(&op(i - 1).body);
      if (linear != nullptr && (add->a == linear->out || add->b == linear->out) && only_read_once(linear->out)) {
        fusion(i - 1).out = add->out;
        fusion(i - 1).residual = add->a == linear->out ? add->b : add->a;
        fusion(i).skip = true;
      }
    }
    if (const auto* attention = std::get_if<PagedAttentionOp>(&op(i).body)) {
      fusion(i).k = attention->k;
      const auto found = producer.find(attention->k);
      const auto* rope = found == producer.end() ? nullptr : std::get_if<RopeOp>(&op(found->second).body);
      if (rope != nullptr && only_read_once(attention->k)) {
        fusion(found->second).skip = true;
        fusion(i).rope_of_k = rope->rope;
        fusion(i).k = rope->in;
      }
    }
  }
}

void VulkanSegment::PlaceValues() {
  std::map<ValueId, int32_t> last_use;
  for (int32_t i = segment_.op_begin; i < segment_.op_end; ++i) {
    const Fusion& fusion = fusions_[static_cast<size_t>(i - segment_.op_begin)];
    if (fusion.skip) continue;
    for (const ValueId in : OpInputs(op(i).body)) last_use[in] = i;
    if (fusion.residual != kNone) last_use[fusion.residual] = i;
    if (fusion.k != kNone) last_use[fusion.k] = i;
    last_use.try_emplace(fusion.out, i);
  }
  scratch_offset_.assign(model_.graph->values.size(), 0);
  FirstFit memory(kVulkanAlignment);
  for (int32_t i = segment_.op_begin; i < segment_.op_end; ++i) {
    const Fusion& fusion = fusions_[static_cast<size_t>(i - segment_.op_begin)];
    if (fusion.skip || IsBoundary(fusion.out)) continue;
    scratch_offset_[static_cast<size_t>(fusion.out)] = memory.Place(BytesOf(fusion.out), i, last_use[fusion.out]);
  }
  scratch_bytes_ = memory.total_bytes();
}

VulkanStepShape VulkanSegment::step_shape() const {
  VulkanStepShape shape{.max_tokens = options_.bucket.max_tokens, .max_outputs = options_.bucket.max_outputs};
  for (const RopeSpec& rope : model_.graph->ropes)
    shape.rope_pairs.push_back(needs_sequences_ ? rope.rotary_dim / 2 : 0);
  shape.attention_tile_rows = shape.max_tokens;
  for (int32_t i = segment_.op_begin; i < segment_.op_end; ++i) {
    if (const auto* attention = std::get_if<PagedAttentionOp>(&op(i).body)) {
      const KvSpec& kv = model_.graph->kv;
      shape.attention_tile_rows =
          std::min(shape.attention_tile_rows,
                   AttentionTileRows(shape.max_tokens, attention->num_heads, kv.num_kv_heads, kv.head_dim));
    }
  }
  return shape;
}

// Records op by op, with a barrier where an op touches what the ones since the last barrier wrote, or writes what they
// read.
class VulkanSegment::Recording {
 public:
  Recording(const VulkanSegment& segment, VulkanRecorder& recorder, const Memory& memory)
      : segment_(segment), recorder_(recorder), memory_(memory) {}

  void Run() {
    recorder_.Barrier();  // after whatever was submitted before
    for (int32_t i = segment_.segment_.op_begin; i < segment_.segment_.op_end; ++i) {
      const Fusion& fusion = segment_.fusions_[static_cast<size_t>(i - segment_.segment_.op_begin)];
      if (fusion.skip) continue;
      std::vector<ValueId> reads = OpInputs(segment_.op(i).body);
      if (fusion.residual != kNone) reads.push_back(fusion.residual);
      if (fusion.k != kNone) reads.push_back(fusion.k);
      Order(reads, fusion.out);
      std::visit([&](const auto& body) { Record(body, fusion); }, segment_.op(i).body);
    }
    recorder_.HostReadBarrier();
  }

 private:
  struct Range {
    DeviceAddress begin, end;
    bool Overlaps(const Range& other) const { return begin < other.end && other.begin < end; }
  };

  DeviceAddress At(ValueId id) const {
    const auto found = std::ranges::find(segment_.boundary_, id);
    if (found != segment_.boundary_.end()) {
      return memory_.boundary[static_cast<size_t>(found - segment_.boundary_.begin())];
    }
    return memory_.scratch + segment_.scratch_offset_[static_cast<size_t>(id)];
  }
  Range RangeOf(ValueId id) const { return {At(id), At(id) + segment_.BytesOf(id)}; }
  uint32_t Cols(ValueId id) const { return U32(segment_.value(id).cols); }
  Rows RowsOf(ValueId id) const { return segment_.value(id).rows; }
  DeviceAddress Weight(WeightSlot slot) const {
    return slot == kNone ? 0 : segment_.weights_[static_cast<size_t>(slot)];
  }
  const WeightDesc& Desc(WeightSlot slot) const {
    return segment_.model_.weight_table->desc(segment_.model_.weights[static_cast<size_t>(slot)]);
  }

  void Order(const std::vector<ValueId>& reads, ValueId write) {
    const Range out = RangeOf(write);
    const auto hits = [](const std::vector<Range>& ranges, const Range& range) {
      return std::ranges::any_of(ranges, [&](const Range& r) { return r.Overlaps(range); });
    };
    bool conflict = hits(written_, out) || hits(read_, out);
    for (const ValueId id : reads) conflict |= hits(written_, RangeOf(id));
    if (conflict) Barrier();
    for (const ValueId id : reads) read_.push_back(RangeOf(id));
    written_.push_back(out);
  }
  void Barrier() {
    recorder_.Barrier();
    written_.clear();
    read_.clear();
  }

  void Record(const EmbedOp& op, const Fusion& fusion) {
    RecordEmbed(recorder_, {.table = Weight(op.table),
                            .row_bytes = Desc(op.table).row_bytes,
                            .dtype = Desc(op.table).dtype,
                            .cols = Cols(op.out),
                            .scale = op.scale,
                            .out = At(fusion.out),
                            .out_stride = Cols(op.out)});
  }

  void Record(const RmsNormOp& op, const Fusion& fusion) {
    RecordRmsNorm(recorder_, {.in = At(op.in),
                              .in_stride = Cols(op.in),
                              .weight = Weight(op.weight),
                              .cols = Cols(op.in),
                              .group = U32(op.group),
                              .eps = op.eps,
                              .out = At(fusion.out),
                              .out_stride = Cols(op.out),
                              .rows = RowsOf(op.in)});
  }

  // The method is a matter of the phase and of the place in the graph, never of how many rows there are: that would
  // let batch mates change a row's bits.
  LinearMethod MethodFor(const LinearOp& op) const {
    const bool streams = segment_.options_.bucket.phase == Phase::kDecode || RowsOf(op.in) == Rows::kOutputs;
    if (streams) return LinearMethod::kMatVec;
    return segment_.options_.fp16_products ? LinearMethod::kMatMulF16 : LinearMethod::kMatMul;
  }

  void Record(const LinearOp& op, const Fusion& fusion) {
    const bool adds = fusion.residual != kNone;
    RecordLinear(recorder_, {.weight = Weight(op.weight),
                             .row_bytes = Desc(op.weight).row_bytes,
                             .dtype = Desc(op.weight).dtype,
                             .n = Cols(op.out),
                             .k = Cols(op.in),
                             .in = At(op.in),
                             .in_stride = Cols(op.in),
                             .out = At(fusion.out),
                             .out_stride = Cols(op.out),
                             .bias = Weight(op.bias),
                             .residual = adds ? At(fusion.residual) : 0,
                             .residual_stride = adds ? Cols(fusion.residual) : 0,
                             .rows = RowsOf(op.in),
                             .method = MethodFor(op)});
  }

  void Record(const RopeOp& op, const Fusion& fusion) {
    const RopeSpec& spec = segment_.model_.graph->ropes[static_cast<size_t>(op.rope)];
    RecordRope(recorder_, {.in = At(op.in),
                           .out = At(fusion.out),
                           .in_stride = Cols(op.in),
                           .out_stride = Cols(op.out),
                           .cos_sin = memory_.ropes[static_cast<size_t>(op.rope)],
                           .num_heads = Cols(op.in) / U32(op.head_dim),
                           .head_dim = U32(op.head_dim),
                           .rotary_dim = U32(spec.rotary_dim),
                           .interleaved = spec.interleaved});
  }

  void Record(const PagedAttentionOp& op, const Fusion& fusion) {
    const Graph& graph = *segment_.model_.graph;
    const KvBlockLayout layout = MakeKvBlockLayout(graph.kv);
    const size_t layer_offset = static_cast<size_t>(op.layer) * layout.layer_bytes;
    const VulkanKvLayer kv{.k_offset = static_cast<uint32_t>(layer_offset),
                           .v_offset = static_cast<uint32_t>(layer_offset + layout.v_offset),
                           .num_kv_heads = U32(graph.kv.num_kv_heads),
                           .head_dim = U32(graph.kv.head_dim)};
    VulkanStoreKv store{.kv = kv, .k = At(fusion.k), .v = At(op.v), .k_stride = Cols(fusion.k), .v_stride = Cols(op.v)};
    if (fusion.rope_of_k != kNone) {
      const RopeSpec& spec = graph.ropes[static_cast<size_t>(fusion.rope_of_k)];
      store.cos_sin = memory_.ropes[static_cast<size_t>(fusion.rope_of_k)];
      store.rotary_dim = U32(spec.rotary_dim);
      store.interleaved = spec.interleaved;
    }
    RecordStoreKv(recorder_, store);
    Barrier();
    RecordAttention(recorder_, {.kv = kv,
                                .q = At(op.q),
                                .out = At(fusion.out),
                                .q_stride = Cols(op.q),
                                .out_stride = Cols(op.out),
                                .num_heads = U32(op.num_heads),
                                .window = U32(op.window),
                                .scale = op.scale,
                                .softcap = op.softcap});
    read_.push_back(RangeOf(op.q));
    written_.push_back(RangeOf(fusion.out));
  }

  void Record(const GluOp& op, const Fusion& fusion) {
    RecordGlu(recorder_, {.gate = At(op.gate),
                          .up = At(op.up),
                          .out = At(fusion.out),
                          .gate_stride = Cols(op.gate),
                          .up_stride = Cols(op.up),
                          .out_stride = Cols(op.out),
                          .cols = Cols(op.out),
                          .activation = op.activation,
                          .rows = RowsOf(op.out)});
  }

  void Record(const AddOp& op, const Fusion& fusion) {
    RecordAdd(recorder_, {.a = At(op.a),
                          .b = At(op.b),
                          .out = At(fusion.out),
                          .a_stride = Cols(op.a),
                          .b_stride = Cols(op.b),
                          .out_stride = Cols(op.out),
                          .cols = Cols(op.out),
                          .rows = RowsOf(op.out)});
  }

  void Record(const SelectOutputsOp& op, const Fusion& fusion) {
    RecordSelectRows(recorder_, {.in = At(op.in),
                                 .out = At(fusion.out),
                                 .in_stride = Cols(op.in),
                                 .out_stride = Cols(op.out),
                                 .cols = Cols(op.out)});
  }

  void Record(const SoftcapOp& op, const Fusion& fusion) {
    RecordSoftcap(recorder_, {.in = At(op.in),
                              .out = At(fusion.out),
                              .in_stride = Cols(op.in),
                              .out_stride = Cols(op.out),
                              .cols = Cols(op.out),
                              .cap = op.cap,
                              .rows = RowsOf(op.out)});
  }

  void Record(const ConcatOp& op, const Fusion& fusion) {
    DeviceAddress column = At(fusion.out);
    for (const ValueId part : op.parts) {
      RecordCopyColumns(recorder_, {.in = At(part),
                                    .out = column,
                                    .in_stride = Cols(part),
                                    .out_stride = Cols(op.out),
                                    .cols = Cols(part),
                                    .rows = RowsOf(part)});
      column += Cols(part) * sizeof(float);
    }
  }

  const VulkanSegment& segment_;
  VulkanRecorder& recorder_;
  const Memory& memory_;
  std::vector<Range> written_, read_;  // since the last barrier
};

void VulkanSegment::Record(VulkanRecorder& recorder, const Memory& memory) const {
  Recording(*this, recorder, memory).Run();
}

}  // namespace lem
