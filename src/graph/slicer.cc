#include "graph/slicer.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace lem {
namespace {

// Cuts fall on whole panels of rows, which is what kernels of every device work in.
constexpr int64_t kRowGranule = 32;

// Rewrites a graph so that each matrix of the layers and the head is two: the device's rows and the rest. Values and
// weights keep their ids; parts are added behind them.
class RowCutter {
 public:
  RowCutter(const Graph& graph, double fraction) : in_(graph), fraction_(fraction) {
    out_.graph = graph;
    out_.graph.ops.clear();
    for (size_t i = 0; i < graph.weights.size(); ++i) out_.slices.push_back({static_cast<WeightSlot>(i), 0});
  }

  // by_rows[op] is true for the ops of the part that the rows clause's device runs.
  SlicedGraph Run(std::vector<bool>& by_rows) {
    for (size_t i = 0; i < in_.ops.size();) i += CutAt(i);
    by_rows = std::move(by_rows_);
    return std::move(out_);
  }

 private:
  struct Halves {
    ValueId device = kNone, rest = kNone;
  };

  int64_t DeviceRows(const LinearOp& op) const {
    const int64_t rows = in_.weights[static_cast<size_t>(op.weight)].rows;
    return static_cast<int64_t>(std::llround(fraction_ * static_cast<double>(rows) / kRowGranule)) * kRowGranule;
  }
  bool CanCut(size_t op_idx) const {
    const Op& op = in_.ops[op_idx];
    const auto* linear = std::get_if<LinearOp>(&op.body);
    if (linear == nullptr || op.part == Part::kEmbedding) return false;
    const int64_t rows = DeviceRows(*linear);
    return rows > 0 && rows < in_.weights[static_cast<size_t>(linear->weight)].rows;
  }

  void Emit(OpBody body, const Op& like, bool by_rows) {
    out_.graph.ops.push_back({std::move(body), like.part, like.layer});
    by_rows_.push_back(by_rows);
  }
  ValueId AddValue(ValueId like, int64_t cols, std::string_view suffix) {
    const Value& value = in_.values[static_cast<size_t>(like)];
    out_.graph.values.push_back({fmt::format("{}.{}", value.name, suffix), value.rows, cols});
    return static_cast<ValueId>(out_.graph.values.size() - 1);
  }
  WeightSlot AddSlice(WeightSlot source, int64_t row_begin, int64_t num_rows) {
    const WeightInfo& info = in_.weights[static_cast<size_t>(source)];
    const bool is_vector = info.rows == 1;
    out_.graph.weights.push_back({fmt::format("{}[{}:{}]", info.name, row_begin, row_begin + num_rows),
                                  is_vector ? 1 : num_rows, is_vector ? num_rows : info.cols});
    out_.slices.push_back({source, row_begin});
    return static_cast<WeightSlot>(out_.graph.weights.size() - 1);
  }

  // One half of a product.
  ValueId EmitHalf(const Op& op, bool by_rows) {
    const auto& linear = std::get<LinearOp>(op.body);
    const int64_t all = in_.weights[static_cast<size_t>(linear.weight)].rows;
    const int64_t device_rows = DeviceRows(linear);
    const int64_t begin = by_rows ? 0 : device_rows;
    const int64_t rows = by_rows ? device_rows : all - device_rows;
    const ValueId out = AddValue(linear.out, rows, by_rows ? "rows" : "rest");
    const WeightSlot bias = linear.bias == kNone ? kNone : AddSlice(linear.bias, begin, rows);
    Emit(LinearOp{linear.in, AddSlice(linear.weight, begin, rows), bias, out}, op, by_rows);
    return out;
  }

  // Handles the ops from `idx` on that belong together and returns how many they are.
  size_t CutAt(size_t idx) {
    if (!CanCut(idx)) {
      Emit(in_.ops[idx].body, in_.ops[idx], false);
      return 1;
    }
    // Products of one input, so that a device gets its share of all of them at once.
    size_t end = idx + 1;
    const ValueId input = std::get<LinearOp>(in_.ops[idx].body).in;
    while (end < in_.ops.size() && CanCut(end) && std::get<LinearOp>(in_.ops[end].body).in == input) ++end;
    const auto* glu = end < in_.ops.size() ? std::get_if<GluOp>(&in_.ops[end].body) : nullptr;
    if (glu != nullptr && end - idx == 2 && OpOutput(in_.ops[idx].body) == glu->gate &&
        OpOutput(in_.ops[idx + 1].body) == glu->up) {
      CutGlu(idx, *glu);
      return 3;
    }
    std::vector<Halves> halves(end - idx);
    for (size_t i = idx; i < end; ++i) halves[i - idx].device = EmitHalf(in_.ops[i], true);
    for (size_t i = idx; i < end; ++i) halves[i - idx].rest = EmitHalf(in_.ops[i], false);
    for (size_t i = idx; i < end; ++i) {
      Emit(ConcatOp{{halves[i - idx].device, halves[i - idx].rest}, OpOutput(in_.ops[i].body)}, in_.ops[i], false);
    }
    return end - idx;
  }

  // Gate, up and their GLU stay together in each half, so only the GLU's output is joined.
  void CutGlu(size_t idx, const GluOp& glu) {
    Halves joined;
    for (const bool by_rows : {true, false}) {
      const ValueId gate = EmitHalf(in_.ops[idx], by_rows);
      const ValueId up = EmitHalf(in_.ops[idx + 1], by_rows);
      const int64_t cols = out_.graph.values[static_cast<size_t>(gate)].cols;
      const ValueId out = AddValue(glu.out, cols, by_rows ? "rows" : "rest");
      Emit(GluOp{gate, up, glu.activation, out}, in_.ops[idx + 2], by_rows);
      (by_rows ? joined.device : joined.rest) = out;
    }
    Emit(ConcatOp{{joined.device, joined.rest}, glu.out}, in_.ops[idx + 2], false);
  }

  const Graph& in_;
  const double fraction_;
  SlicedGraph out_;
  std::vector<bool> by_rows_;
};

// Marks where each value is and adds the copies that steps need.
Result<Plan> MakePlan(const Graph& graph, const Placement& placement, const std::vector<size_t>& clause_of_op,
                      const DeviceSpaces& spaces) {
  Plan plan;
  const auto num_ops = static_cast<int32_t>(graph.ops.size());
  for (int32_t begin = 0; begin < num_ops;) {
    int32_t end = begin + 1;
    const size_t clause = clause_of_op[static_cast<size_t>(begin)];
    while (end < num_ops && clause_of_op[static_cast<size_t>(end)] == clause) ++end;
    plan.steps.push_back({{begin, end}, placement.DeviceOf(clause), {}});
    begin = end;
  }
  constexpr SpaceId kNowhere = -1;
  std::vector<std::vector<SpaceId>> valid_in(graph.values.size());
  const auto bring = [&](ValueId value, SpaceId to, std::vector<Transfer>& transfers) {
    std::vector<SpaceId>& where = valid_in[static_cast<size_t>(value)];
    if (std::ranges::find(where, to) != where.end()) return;
    const SpaceId from = where.empty() ? kNowhere : where.front();
    if (from == kNowhere) return;
    // Two memories of devices meet in the host's.
    if (from != kHostSpace && to != kHostSpace && std::ranges::find(where, kHostSpace) == where.end()) {
      transfers.push_back({value, from, kHostSpace});
      where.push_back(kHostSpace);
    }
    transfers.push_back({value, to == kHostSpace ? from : kHostSpace, to});
    where.push_back(to);
  };
  for (PlanStep& step : plan.steps) {
    const auto space = spaces.find(step.device_id);
    if (space == spaces.end()) return NotFound("there is no device '{}'", step.device_id);
    const SegmentBoundary boundary = FindBoundary(graph, step.segment);
    for (const ValueId in : boundary.inputs) bring(in, space->second, step.transfers);
    for (const ValueId out : boundary.outputs) valid_in[static_cast<size_t>(out)] = {space->second};
  }
  bring(graph.logits, kHostSpace, plan.last_transfers);
  return plan;
}

}  // namespace

Result<SlicedGraph> SliceGraph(const Graph& graph, const Placement& placement, const DeviceSpaces& spaces) {
  for (const PlacementClause& clause : placement.clauses) {
    if (clause.selector == PlacementClause::Selector::kLayers && clause.last_layer >= graph.kv.num_layers) {
      return InvalidArgument("the placement names layer {}; the model has layers 0 to {}", clause.last_layer,
                             graph.kv.num_layers - 1);
    }
  }
  SlicedGraph sliced;
  std::vector<bool> by_rows;
  const PlacementClause* rows = placement.Rows();
  if (rows != nullptr) {
    sliced = RowCutter(graph, rows->rows_fraction).Run(by_rows);
  } else {
    sliced.graph = graph;
    for (size_t i = 0; i < graph.weights.size(); ++i) sliced.slices.push_back({static_cast<WeightSlot>(i), 0});
  }
  by_rows.resize(sliced.graph.ops.size(), false);
  for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
    std::vector<size_t> clause_of_op;
    clause_of_op.reserve(sliced.graph.ops.size());
    for (size_t i = 0; i < sliced.graph.ops.size(); ++i) {
      const bool cut = by_rows[i] && (!rows->phase || *rows->phase == phase);
      clause_of_op.push_back(cut ? static_cast<size_t>(rows - placement.clauses.data())
                                 : placement.ClauseOf(sliced.graph.ops[i], phase));
    }
    LEM_ASSIGN_OR_RETURN(Plan plan, MakePlan(sliced.graph, placement, clause_of_op, spaces));
    (phase == Phase::kPrefill ? sliced.prefill : sliced.decode) = std::move(plan);
  }
  return sliced;
}

}  // namespace lem
