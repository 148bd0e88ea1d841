#include "device/npu/compiler/static_graph.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <mutex>
#include <tuple>

#include "base/log.h"
#include "device/first_fit.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

constexpr std::array<std::string_view, 3> kPrecisionNames = {"int8", "int4", "bf16"};
constexpr std::array<std::string_view, 4> kModeNames = {"mix", "int8", "int4", "bf16"};
constexpr size_t kAlignment = 64;
constexpr int64_t kFirstContext = 256;
constexpr int64_t kGridGroup = 32;  // elements of GGUF's 4-bit types that share a scale
// A 4-bit weight with its part of a 16-bit scale and a 16-bit minimum.
constexpr int64_t kInt4Bits = 4 + int64_t{2} * 16 / kGridGroup;
// Of the multipliers' peak: products over one head are short in k or in n.
constexpr double kAttentionEfficiency = 0.5;

// The fastest tiling of a shape, looked for once in a process.
Result<GemmProgram> BestGemm(const NpuGeneration& generation, const GemmConfig& config) {
  using Key = std::tuple<const NpuGeneration*, NpuType, int64_t, int64_t, int64_t, int64_t, int64_t>;
  static std::mutex mutex;
  static std::map<Key, GemmConfig> found;
  const Key key{&generation,    config.in,          config.shape.m,    config.shape.k,
                config.shape.n, config.weight_bits, config.scale_group};
  {
    const std::lock_guard lock(mutex);
    if (const auto it = found.find(key); it != found.end()) return GemmProgram::Compile(generation, it->second);
  }
  LEM_ASSIGN_OR_RETURN(GemmProgram program, CompileBestGemm(generation, config));
  const std::lock_guard lock(mutex);
  found.emplace(key, program.config());
  return program;
}

// An op that the vector units do: `cycles` of one vector of lanes for each of `elements`, `bytes` to and from memory.
NpuCost VectorCost(const NpuGeneration& g, double elements, double cycles, double bytes, bool launched) {
  NpuCost cost;
  const double lanes = static_cast<double>(g.cores() * g.vector_lanes_f32) * g.clock_hz;
  // What fits half of the MemTiles never leaves the array.
  if (elements <= 0) return cost;
  if (bytes < static_cast<double>(g.memtile_bytes * g.columns) / 2) bytes = 0;
  cost.seconds =
      std::max(elements * cycles / lanes, bytes / (g.dram_bytes_per_s * 0.75)) + (launched ? g.op_overhead_s : 0.0);
  cost.dram_bytes = bytes;
  cost.joules = g.idle_w * cost.seconds + bytes * g.joule_per_dram_byte +
                elements * cycles * g.joule_per_mac[static_cast<size_t>(NpuType::kBf16)];
  return cost;
}

// First fit into one memory: a value takes the lowest gap that is free from its writing to its last reading.
void PlaceValues(StaticGraph& graph) {
  const Graph& model = *graph.model;
  const auto rows = [&](ValueId id) {
    return model.values[static_cast<size_t>(id)].rows == Rows::kTokens ? graph.tokens : graph.outputs;
  };
  const size_t count = model.values.size();
  graph.values.resize(count);
  std::vector<int32_t> born(count, kNone), dies(count, kNone);
  for (int32_t i = graph.segment.op_begin; i < graph.segment.op_end; ++i) {
    const OpBody& body = model.ops[static_cast<size_t>(i)].body;
    for (const ValueId in : OpInputs(body)) dies[static_cast<size_t>(in)] = i;
    born[static_cast<size_t>(OpOutput(body))] = i;
    dies[static_cast<size_t>(OpOutput(body))] = i;
  }
  const SegmentBoundary boundary = FindBoundary(model, graph.segment);
  for (const auto& side : {boundary.inputs, boundary.outputs}) {
    for (const ValueId id : side) graph.values[static_cast<size_t>(id)].boundary = true;
  }
  FirstFit memory(kAlignment);
  for (int32_t i = graph.segment.op_begin; i < graph.segment.op_end; ++i) {
    const ValueId out = OpOutput(model.ops[static_cast<size_t>(i)].body);
    StaticValue& placed = graph.values[static_cast<size_t>(out)];
    if (placed.boundary) continue;
    const size_t bytes = static_cast<size_t>(rows(out) * model.values[static_cast<size_t>(out)].cols) * sizeof(float);
    placed.offset_bytes = memory.Place(bytes, i, dies[static_cast<size_t>(out)]);
  }
  graph.activation_bytes = memory.total_bytes();
  for (size_t id = 0; id < count; ++id) {
    StaticValue& placed = graph.values[id];
    if (born[id] == kNone && dies[id] == kNone) continue;
    placed.value = static_cast<ValueId>(id);
    placed.rows = rows(placed.value);
    placed.cols = model.values[id].cols;
  }
}

// Tiles and costs for a generation, on top of what LayOutStaticGraph fixes.
class Planner {
 public:
  Planner(const NpuGeneration& generation, StaticGraph graph, const StaticGraphOptions& options)
      : g_(generation), model_(*graph.model), options_(options), graph_(std::move(graph)) {}

  Result<StaticGraph> Run() {
    for (StaticOp& planned : graph_.ops) {
      const Op& op = model_.ops[static_cast<size_t>(planned.op_idx)];
      LEM_TRY(std::visit([&](const auto& body) { return Plan(op, body, planned); }, op.body));
    }
    return std::move(graph_);
  }

 private:
  const Value& value(ValueId id) const { return model_.values[static_cast<size_t>(id)]; }
  int64_t rows(ValueId id) const { return value(id).rows == Rows::kTokens ? graph_.tokens : graph_.outputs; }
  double Elements(ValueId id) const { return static_cast<double>(rows(id) * value(id).cols); }

  Status Plan(const Op&, const LinearOp& body, StaticOp& planned) {
    const size_t slot = static_cast<size_t>(body.weight);
    if (rows(body.in) == 0) return OkStatus();
    GemmConfig config;
    config.shape = {rows(body.in), value(body.in).cols, value(body.out).cols};
    config.in = planned.precision == NpuPrecision::kBf16 ? NpuType::kBf16 : NpuType::kI8;
    config.out = NpuType::kF32;
    config.b_in_blocks = true;
    if (config.in == NpuType::kI8) config.scale_group = options_.compile.scale_group;
    config.weight_bits = planned.precision == NpuPrecision::kInt4 ? kInt4Bits : options_.weight_bits;
    Result<GemmProgram> program = BestGemm(g_, config);
    if (!program.ok()) {
      return std::move(program).status().WithContext(
          fmt::format("weight {} does not fit the NPU", model_.weights[slot].name));
    }
    planned.gemm = program->config();
    const GemmCost& cost = program->cost();
    planned.cost = {cost.seconds + g_.op_overhead_s, cost.joules + g_.idle_w * g_.op_overhead_s, cost.macs,
                    cost.dram_bytes};
    graph_.macs[static_cast<size_t>(planned.precision)] +=
        static_cast<double>(config.shape.k) * static_cast<double>(config.shape.n);
    return OkStatus();
  }

  // Rotation, gated products and sums run in the cores that make or take their values.
  Status Vector(StaticOp& planned, double elements, double multiply_adds, double exps, double bytes, bool launched) {
    planned.cost =
        VectorCost(g_, elements, multiply_adds * g_.multiply_add_cycles + exps * g_.exp_cycles, bytes, launched);
    return OkStatus();
  }
  Status Plan(const Op&, const EmbedOp& body, StaticOp& planned) {
    return Vector(planned, Elements(body.out), 1, 0, Elements(body.out) * 4, true);
  }
  Status Plan(const Op&, const RmsNormOp& body, StaticOp& planned) {
    // Norms of heads run with the rotation.
    const bool launched = body.group == value(body.in).cols;
    return Vector(planned, Elements(body.in), 4, 0, Elements(body.in) * 8, launched);
  }
  Status Plan(const Op&, const RopeOp& body, StaticOp& planned) {
    return Vector(planned, Elements(body.in), 2, 0, 0, false);
  }
  Status Plan(const Op&, const GluOp& body, StaticOp& planned) {
    return Vector(planned, Elements(body.out), 3, 1, Elements(body.out) * 12, false);
  }
  Status Plan(const Op&, const AddOp& body, StaticOp& planned) {
    return Vector(planned, Elements(body.out), 1, 0, Elements(body.out) * 12, false);
  }
  Status Plan(const Op&, const SelectOutputsOp& body, StaticOp& planned) {
    return Vector(planned, Elements(body.out), 0, 0, 0, false);
  }
  Status Plan(const Op&, const SoftcapOp& body, StaticOp& planned) {
    return Vector(planned, Elements(body.out), 2, 1, 0, false);
  }
  Status Plan(const Op&, const ConcatOp& body, StaticOp& planned) {
    return Vector(planned, Elements(body.out), 1, 0, 0, false);
  }
  Status Plan(const Op&, const PagedAttentionOp& body, StaticOp& planned) {
    if (model_.kv.head_dim % 16 != 0 || model_.kv.head_dim > kMaxHeadDim) {
      return Unimplemented("the NPU's attention takes heads of a multiple of 16 up to {}, not {}", kMaxHeadDim,
                           model_.kv.head_dim);
    }
    graph_.attentions.push_back({body.num_heads, body.window});
    graph_.kv_bits = options_.kv_bits;
    return Vector(planned, Elements(body.q), 1, 0, 0, true);
  }

  const NpuGeneration& g_;
  const Graph& model_;
  const StaticGraphOptions options_;
  StaticGraph graph_;
};

}  // namespace

std::string_view NpuPrecisionName(NpuPrecision precision) { return kPrecisionNames[static_cast<size_t>(precision)]; }
std::string_view NpuPrecisionModeName(NpuPrecisionMode mode) { return kModeNames[static_cast<size_t>(mode)]; }

Result<NpuPrecisionMode> ParseNpuPrecisionMode(std::string_view name) {
  for (size_t i = 0; i < kModeNames.size(); ++i) {
    if (kModeNames[i] == name) return static_cast<NpuPrecisionMode>(i);
  }
  return InvalidArgument("'{}' is no precision of the NPU; allowed: {}", name, fmt::join(kModeNames, ", "));
}

NpuCompileOptions NpuCompileOptionsFromEnvironment() {
  NpuCompileOptions options;
  const char* precision = std::getenv("LEM_NPU_PRECISION");
  if (precision == nullptr || *precision == '\0') return options;
  if (const Result<NpuPrecisionMode> mode = ParseNpuPrecisionMode(precision); mode.ok()) {
    options.mode = *mode;
  } else {
    LogWarning("LEM_NPU_PRECISION: {}; it is ignored", mode.status().message());
  }
  return options;
}

NpuPrecision PrecisionOf(const NpuCompileOptions& options, DType stored) {
  switch (options.mode) {
    case NpuPrecisionMode::kInt8:
      return NpuPrecision::kInt8;
    case NpuPrecisionMode::kInt4:
      return NpuPrecision::kInt4;
    case NpuPrecisionMode::kBf16:
      return NpuPrecision::kBf16;
    case NpuPrecisionMode::kMix:
      break;
  }
  const bool is_grid = stored == DType::kQ4_0 || stored == DType::kQ4_1 || stored == DType::kQ4_K;
  if (is_grid && options.scale_group == kGridGroup) return NpuPrecision::kInt4;
  return GetDTypeInfo(stored).block_elements > 1 ? NpuPrecision::kInt8 : NpuPrecision::kBf16;
}

double StaticGraph::ShareOf(NpuPrecision precision) const {
  const double all = macs[0] + macs[1] + macs[2];
  return all > 0 ? macs[static_cast<size_t>(precision)] / all : 0;
}

int64_t NpuTokenBucket(int64_t num_tokens) {
  const auto found = std::ranges::lower_bound(kNpuTokenBuckets, num_tokens);
  return found == std::end(kNpuTokenBuckets) ? *(found - 1) : *found;
}

int64_t NpuContextBucket(int64_t context) {
  int64_t bucket = kFirstContext;
  while (bucket < context) bucket *= 2;
  return bucket;
}

NpuCost& NpuCost::operator+=(const NpuCost& other) {
  seconds += other.seconds;
  joules += other.joules;
  macs += other.macs;
  dram_bytes += other.dram_bytes;
  return *this;
}

// Keys and values come page by page; scores and their exponentials stay in the cores. Every row is computed against the
// whole padded context, or window, because the graph is static.
NpuCost StaticGraph::Cost(const NpuGeneration& g, std::span<const Load> sequences) const {
  NpuCost total;
  for (const StaticOp& op : ops) total += op.cost;
  const double head_dim = static_cast<double>(model->kv.head_dim);
  const double kv_cols = static_cast<double>(model->kv.num_kv_heads) * head_dim;
  const auto bf16 = static_cast<size_t>(NpuType::kBf16);
  for (const Attention& attention : attentions) {
    double seen = 0, bytes = 0;  // (row, key) pairs; bytes of keys and values
    int64_t rows_left = tokens;
    for (const Load& load : sequences) {
      int64_t context = NpuContextBucket(load.context);
      if (attention.window > 0) context = std::min(context, NpuContextBucket(attention.window + load.rows));
      seen += static_cast<double>(load.rows * context);
      bytes += static_cast<double>(context) * 2 * kv_cols * static_cast<double>(kv_bits) / 8;
      rows_left -= load.rows;
    }
    seen += static_cast<double>(std::max<int64_t>(0, rows_left) * kFirstContext);
    NpuCost cost;
    cost.macs = 2 * seen * head_dim * static_cast<double>(attention.num_heads);
    cost.dram_bytes = bytes;
    const double cores = static_cast<double>(g.cores()) * g.clock_hz;
    const double exps = seen * static_cast<double>(attention.num_heads);
    const double compute_s = cost.macs / (g.macs_per_cycle[bf16] * kAttentionEfficiency * cores) +
                             exps * g.exp_cycles / (static_cast<double>(g.vector_lanes_f32) * cores);
    const double efficiency =
        static_cast<double>(g.burst_bytes) / (static_cast<double>(g.burst_bytes) + g.burst_overhead_bytes);
    cost.seconds = std::max(compute_s, bytes / (g.dram_bytes_per_s * efficiency));
    cost.joules = g.idle_w * cost.seconds + cost.macs * g.joule_per_mac[bf16] + bytes * g.joule_per_dram_byte;
    total += cost;
  }
  return total;
}

StaticGraph LayOutStaticGraph(const Graph& model, const Segment& segment, int64_t tokens, int64_t outputs,
                              const StaticGraphOptions& options) {
  StaticGraph graph{.model = &model, .segment = segment, .tokens = tokens, .outputs = outputs};
  PlaceValues(graph);
  for (int32_t i = segment.op_begin; i < segment.op_end; ++i) {
    StaticOp& op = graph.ops.emplace_back(StaticOp{.op_idx = i});
    const auto* linear = std::get_if<LinearOp>(&model.ops[static_cast<size_t>(i)].body);
    if (linear == nullptr) continue;
    const auto slot = static_cast<size_t>(linear->weight);
    op.precision =
        PrecisionOf(options.compile, options.weight_types.empty() ? DType::kQ8_0 : options.weight_types[slot]);
  }
  return graph;
}

Result<StaticGraph> PlanStaticGraph(const NpuGeneration& generation, const Graph& model, const Segment& segment,
                                    int64_t tokens, int64_t outputs, const StaticGraphOptions& options) {
  return Planner(generation, LayOutStaticGraph(model, segment, tokens, outputs, options), options).Run();
}

}  // namespace lem
